# SPDX-License-Identifier: Apache-2.0
"""A Python client for Pulp servers: settings, requests, failures, event log; over HTTP only."""
