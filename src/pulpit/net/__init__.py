# SPDX-License-Identifier: Apache-2.0
"""Network safety: allowed addresses, TLS contexts, passwords, files with secrets."""
