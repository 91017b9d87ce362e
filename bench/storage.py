"""An object store behind Pulpit, against the same store without it: downloads by curl, uploads by obstore alone.

    python -m bench.storage [--rounds N] [--folder FOLDER]

The store is moto's S3 server in a separate process, which is slow; so read the ratios. `cold` is a server that was
started again with an empty cache, `warm` the same one asked again.
"""

import contextlib
import hashlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import obstore
from obstore.store import S3Store

from bench.serve import emptied, publish, sets
from bench.sync import AT_ONCE, curl, file_names, pulpit, tool
from pulpit.settings import StorageSettings
from pulpit.storage.objects import LARGE_AT_ONCE, PART, PARTS_AT_ONCE
from pulpit.storage.opening import open_storage
from support import s3
from support.ports import free_port
from support.server import Server
from support.waiting import until

ROUNDS: Final = 3


def main() -> None:
    with sets(__doc__, ROUNDS) as (rounds, each):
        for name, here, url in each:
            print(f"{name} (medians of {rounds} rounds)")
            uploads(here, url, rounds)
            downloads(here, url, rounds)


@contextlib.contextmanager
def moto(here: Path) -> Iterator[s3.S3]:
    """A store of a process of its own, with a bucket."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    credentials = here / "credentials"
    credentials.write_text(f"access_key_id = {s3.ACCESS_KEY}\nsecret_access_key = {s3.SECRET_KEY}\n", encoding="ascii")
    credentials.chmod(0o600)
    store = s3.S3(endpoint=f"http://127.0.0.1:{port}", credentials=credentials)

    def answers() -> bool:
        with contextlib.suppress(OSError):
            store.make_bucket("bucket")
            return True
        return False

    try:
        until(answers, what="moto")
        yield store
    finally:
        process.terminate()
        process.wait(60)


def uploads(here: Path, url: str, rounds: int) -> None:
    """A sync into the store, against obstore alone with the same files from the disk, as many at once."""
    costs: dict[str, list[float]] = {"pulpit, sync": [], "obstore": []}
    for number in range(rounds):
        with moto(here) as store, emptied(here / f"synced-{number}") as target:
            storage = open_storage(store.settings("bucket"), target)
            storage.begin()
            storage.prepare()
            costs["pulpit, sync"].append(pulpit(target, url, storage)[0].wall)
        with moto(here) as store:
            costs["obstore"].append(put_alone(here, store))
    tell(costs, "obstore")


def client(store: s3.S3) -> S3Store:
    return S3Store(
        "bucket",
        endpoint=store.endpoint,
        region="us-east-1",
        access_key_id=s3.ACCESS_KEY,
        secret_access_key=s3.SECRET_KEY,
        client_options={"allow_http": True},
    )


def put_alone(here: Path, store: s3.S3) -> float:
    bucket = client(store)
    paths = [here / "upstream" / name for name in file_names(here)]
    is_large = paths[0].stat().st_size > PART

    def put(path: Path) -> None:
        if is_large:
            obstore.put(bucket, f"alone/{path.name}", path, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)
        else:
            obstore.put(bucket, f"alone/{path.name}", path.read_bytes(), use_multipart=False)

    began = time.perf_counter()
    with ThreadPoolExecutor(LARGE_AT_ONCE if is_large else AT_ONCE) as pool:
        list(pool.map(put, paths))
    return time.perf_counter() - began


def downloads(here: Path, url: str, rounds: int) -> None:
    """Everything by curl, from the server and from the store itself, by turns."""
    costs: dict[str, list[float]] = {"pulpit, cold": [], "pulpit, warm": [], "moto": []}
    with moto(here) as store:
        server = Server(here / "data", conf_of(store.settings("bucket")))
        server.start()
        try:
            publish(server, "files", url)
            direct = from_store(here, store)
            for number in range(rounds):
                server.stop()
                for folder in (server.data_dir / "cache").glob("??"):
                    shutil.rmtree(folder)
                server.start()
                for way, found in costs.items():
                    with emptied(here / f"got-{way.replace(', ', '-')}-{number}") as target:
                        command = curl(here, target, f"{server.url}/pulp/isos/files/")
                        found.append(tool(direct(target) if way == "moto" else command, target).wall)
        finally:
            server.stop()
    tell(costs, "moto")


def from_store(here: Path, store: s3.S3) -> "Direct":
    """How curl gets the objects: by signed URLs, for nobody may read them otherwise."""
    bucket, urls = client(store), {}
    for name in file_names(here):
        sha256 = hashlib.sha256((here / "upstream" / name).read_bytes()).hexdigest()
        urls[name] = obstore.sign(bucket, "GET", f"files/{sha256[:2]}/{sha256}", timedelta(hours=1))
    return Direct(here, urls)


class Direct:
    """Makes the command; the URL of each file by its name."""

    def __init__(self, here: Path, urls: dict[str, str]) -> None:
        self._listing: Final = here / "direct.list"
        self._urls: Final = urls

    def __call__(self, target: Path) -> list[str]:
        """The command that puts the files into a folder."""
        lines = "".join(f'url = "{url}"\noutput = "{target}/{name}"\n' for name, url in self._urls.items())
        self._listing.write_text(lines, encoding="utf-8")
        options = ["-sS", "--fail", "--no-progress-meter", "--parallel", "--parallel-max", str(AT_ONCE)]
        return ["curl", *options, "--config", str(self._listing)]


def conf_of(settings: StorageSettings) -> str:
    """The configuration of a server with this storage."""
    keys = ("url", "endpoint", "region", "credentials_file")
    return "[messaging]\nurl:\n[storage]\n" + "".join(f"{key}: {getattr(settings, key)}\n" for key in keys)


def tell(costs: dict[str, list[float]], peer: str) -> None:
    medians = {way: statistics.median(found) for way, found in costs.items()}
    for way, wall in medians.items():
        ratio = "" if way == peer else f"   takes {wall / medians[peer]:.2f} times as long as {peer}"
        print(f"  {way:<14} {wall:7.3f} s{ratio}", flush=True)


if __name__ == "__main__":
    main()
