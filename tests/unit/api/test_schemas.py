"""The event schemas that the API serves."""

import jsonschema

from support.api import Api

AUTH = ("admin", "correct horse")


def test_every_schema_is_served_and_valid(api: Api) -> None:
    schemas = api.client.get("/pulpit/v1/schemas", auth=AUTH).json()
    assert "repo.sync.finish" in schemas
    for event_type, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert api.client.get(f"/pulpit/v1/schemas/{event_type}", auth=AUTH).json() == schema


def test_the_asyncapi_document_and_nothing_else(api: Api) -> None:
    document = api.client.get("/pulpit/v1/schemas/asyncapi", auth=AUTH).json()
    assert document["asyncapi"] == "3.0.0"
    assert api.client.get("/pulpit/v1/schemas/repo.sync.finsh", auth=AUTH).status_code == 404
