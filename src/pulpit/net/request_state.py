# SPDX-License-Identifier: Apache-2.0
"""What the HTTP protocol puts into the state of a request (`scope["state"]`) for those who answer it."""

from typing import Final

ABORT: Final = "abort_connection"
"""Key of what ends the connection at once, where the protocol can."""
CERTIFICATE: Final = "client_certificate"
"""Key of the client certificate (DER) that TLS accepted, if there is one."""
