# SPDX-License-Identifier: Apache-2.0
"""A Pulp server as seen from outside: its address, its answers, its failures, its log; spoken by HTTP alone."""
