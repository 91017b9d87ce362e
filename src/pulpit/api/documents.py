"""What the answers of both APIs have in common."""

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """An answer, or a part of one; its validator is built at first use, as all together would delay the start."""

    model_config = ConfigDict(defer_build=True)
