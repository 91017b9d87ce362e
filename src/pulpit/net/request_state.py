# SPDX-License-Identifier: Apache-2.0
"""What the HTTP protocol puts into a request's state (`scope["state"]`)."""

from typing import Final

ABORT: Final = "abort_connection"
"""Key of the function that closes the connection at once, if the protocol supports it."""
CERTIFICATE: Final = "client_certificate"
"""Key of the client certificate (DER) that TLS accepted, if there is one."""
