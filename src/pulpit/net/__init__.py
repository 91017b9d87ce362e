# SPDX-License-Identifier: Apache-2.0
"""What goes over a network safely: addresses that may be reached, TLS contexts, passwords, files with secrets."""
