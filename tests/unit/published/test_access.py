"""The authorities of protected repositories, as TLS trusts them."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import trustme
from sqlalchemy import Connection

from pulpit.published.access import TrustedAuthorities
from pulpit.store.database import Database
from support.api import V2, Api, running


class _Noting(Database):
    """Notes the threads that read."""

    readers: set[int]

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        self.readers.add(threading.get_ident())
        with super().read() as connection:
            yield connection


def test_a_new_authority_is_trusted_and_the_event_loop_waits_for_no_database(tmp_path: Path) -> None:
    with running(tmp_path) as api:
        asyncio.run(_new_authority(api, tmp_path))


async def _new_authority(api: Api, data_dir: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    noting = _Noting(data_dir, api.database._wakeups)
    noting.readers = set()
    with contextlib.closing(noting):
        authorities = TrustedAuthorities(noting, context)
        await authorities.load()
        before = context.cert_store_stats()["x509_ca"]
        body = {
            "id": "entitled",
            "importer_type_id": "iso_importer",
            "distributors": [
                {
                    "distributor_id": "iso_distributor",
                    "distributor_type_id": "iso_distributor",
                    "distributor_config": {"ssl_auth_ca_cert": trustme.CA().cert_pem.bytes().decode()},
                }
            ],
        }
        assert api.client.post(f"{V2}/repositories/", json=body).status_code == 201
        keeping = asyncio.create_task(authorities.keep())
        async with asyncio.timeout(60):
            while context.cert_store_stats()["x509_ca"] == before:  # noqa: ASYNC110 - OpenSSL tells nobody
                await asyncio.sleep(0.02)
        keeping.cancel()
        await asyncio.wait({keeping})
    assert noting.readers
    assert threading.get_ident() not in noting.readers
