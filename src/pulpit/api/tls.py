"""Lets the endpoints see the certificate that a client showed, which uvicorn keeps to itself."""

import asyncio
from typing import Final

from pulpit.api.wire import BoundedHttp

CERTIFICATE: Final = "client_certificate"
"""Key of the request's state that holds the certificate (DER), if the client showed one that TLS accepted."""


class CertifiedHttp(BoundedHttp):
    """HTTP over TLS; to be given as `http` together with `ssl_ca_certs` and `ssl_cert_reqs=CERT_OPTIONAL`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the parent has it
        """Remember the certificate for all requests of the connection."""
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        shown = secured.getpeercert(binary_form=True) if secured is not None else None
        if shown:
            self.app_state = {**self.app_state, CERTIFICATE: shown}
