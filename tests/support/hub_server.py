"""A stand-in for the Hub's API: repositories, large files, commits and downloads, as `huggingface_hub` asks for them.

It keeps what it is given and checks it as the Hub does: the token, the parent of a commit, the sha256 and size of large
files, the header of a card. Faults are switched from outside: `die_at` closes connections at the n-th commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_secretTokenOfTheTest"
LICENCES = ("apache-2.0", "cc-by-4.0", "cc0-1.0", "mit", "other")


@dataclass
class Repo:
    """A dataset: its files at every commit."""

    visibility: str = "public"
    gated: Any = False
    heads: list[str] = field(default_factory=list)
    trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)

    @property
    def files(self) -> dict[str, bytes]:
        return self.trees[self.heads[-1]]

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{len(self.heads)}{sorted(files)}".encode()).hexdigest()
        self.heads.append(oid)
        self.trees[oid] = files
        return oid


class Hub(ThreadingHTTPServer):
    """All repositories, and what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.commits = 0
        self.die_at = 0
        self.owners = ("me",)
        self.lock = threading.Lock()
        self.before_commit: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, document: Any, status: int = 200, **headers: str) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, message: str, code: str = "") -> None:
        headers = {"X_Error_Message": message, **({"X_Error_Code": code} if code else {})}
        self._answer({"error": message}, status, **headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _do(self) -> None:
        body, parts = self._body(), urlsplit(self.path)
        path = [unquote(item) for item in parts.path.strip("/").split("/")]
        if self.command == "PUT" and path[0] == "lfs":
            return self._put_blob(path[1], body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "Invalid username or password.")
        with self.server.lock:
            if path[:2] == ["api", "repos"]:
                return self._create(json.loads(body))
            if path[:2] == ["api", "validate-yaml"]:
                return self._validate(json.loads(body)["content"])
            name = "/".join(path[2:4] if path[0] == "api" else path[1:3]).removesuffix(".git")
            repo = self.server.repos.get(name)
            if repo is None:
                return self._refuse(404, "Repository not found", "RepoNotFound")
            rest = path[4:] if path[0] == "api" else path[3:]
            return self._in_repo(repo, name, rest, body, parse_qs(parts.query))

    do_GET = do_HEAD = do_POST = do_PUT = _do

    def _put_blob(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._refuse(400, "the sha256 is another")
        self.server.blobs[oid] = body
        self.server.uploads.append(oid)
        return self._answer({})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] not in self.server.owners:
            return self._refuse(403, "You don't have the rights to create a dataset under this namespace")
        url = f"{self.server.url}/datasets/{name}"
        if name in self.server.repos:
            return self._answer({"error": "You already created this dataset repo", "url": url}, 409)
        repo = self.server.repos[name] = Repo(asked.get("visibility", "public"))
        repo.commit({".gitattributes": b"*.tar filter=lfs diff=lfs merge=lfs -text\n"})
        return self._answer({"url": url, "name": name})

    def _validate(self, content: str) -> None:
        try:
            header = yaml.safe_load(content.split("---\n")[1])
            bad = [] if header["license"] in LICENCES else [{"message": '"license" must be one of a list'}]
            bad += [] if isinstance(header["configs"], list) else [{"message": '"configs" must be an array'}]
        except (yaml.YAMLError, IndexError, KeyError, TypeError) as error:
            bad = [{"message": str(error)}]
        return self._answer({"errors": bad, "warnings": []}, 400 if bad else 200)

    def _in_repo(self, repo: Repo, name: str, rest: list[str], body: bytes, query: dict[str, list[str]]) -> None:
        kind = rest[0] if rest else ""
        if kind in ("", "revision"):
            head = rest[1] if kind and rest[1] in repo.trees else repo.heads[-1]
            about = {"id": name, "sha": head, "private": repo.visibility == "private", "gated": repo.gated}
            return self._answer({**about, "siblings": [{"rfilename": path} for path in repo.trees[head]], "tags": []})
        if kind == "settings":
            asked = json.loads(body)
            repo.visibility, repo.gated = asked.get("visibility", repo.visibility), asked.get("gated", repo.gated)
            return self._answer(asked)
        if kind == "preupload":
            return self._answer({"files": [self._mode(repo, item) for item in json.loads(body)["files"]]})
        if kind == "info":
            return self._answer({"transfer": "basic", "objects": [self._large(i) for i in json.loads(body)["objects"]]})
        if kind == "commit":
            return self._commit(repo, name, [json.loads(line) for line in body.splitlines()])
        tree = repo.trees.get(rest[1], repo.files)
        if kind == "tree":
            under = "/".join([*rest[2:], ""]) if rest[2:] else ""
            deep = query.get("recursive", ["false"])[0].lower() == "true"
            found = [path for path in tree if path.startswith(under)]
            folders = {under + path[len(under) :].split("/")[0] for path in found if "/" in path[len(under) :]}
            if not found:
                return self._refuse(404, "Entry not found", "EntryNotFound")
            items = [_about(repo, tree, path) for path in found if deep or "/" not in path[len(under) :]]
            return self._answer([{"type": "directory", "path": path, "oid": "0" * 40} for path in folders] + items)
        if kind == "paths-info":
            wanted = json.loads(body) if body[:1] == b"{" else parse_qs(body.decode())
            paths = wanted["paths"] if isinstance(wanted["paths"], list) else [wanted["paths"]]
            folders = [path for path in paths if any(item.startswith(f"{path}/") for item in tree)]
            items = [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders]
            return self._answer([*items, *(_about(repo, tree, path) for path in paths if path in tree)])
        assert kind == "resolve", self.path
        return self._download(repo, rest[1], tree, "/".join(rest[2:]))

    def _mode(self, repo: Repo, item: dict[str, Any]) -> dict[str, Any]:
        large = item["path"].endswith((".tar", ".parquet"))
        have = repo.files.get(item["path"])
        oid = {} if have is None else {"oid": hashlib.sha256(have).hexdigest() if large else _git(have)}
        return {"path": item["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **oid}

    def _large(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["oid"] in self.server.blobs:
            return item
        return {**item, "actions": {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}"}}}

    def _commit(self, repo: Repo, name: str, lines: list[dict[str, Any]]) -> None:
        self.server.commits += 1
        if self.server.commits == self.server.die_at:
            self.close_connection = True
            return self.connection.close()
        if self.server.before_commit:
            self.server.before_commit(self.server, repo)
        parent = lines[0]["value"].get("parentCommit")
        if parent and parent != repo.heads[-1]:
            return self._refuse(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
                repo.large.discard(value["path"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
                repo.large.add(value["path"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = repo.commit(files)
        return self._answer({"commitOid": oid, "commitUrl": f"{self.server.url}/datasets/{name}/commit/{oid}"})

    def _download(self, repo: Repo, revision: str, tree: dict[str, bytes], path: str) -> None:
        if path not in tree:
            return self._refuse(404, "Entry not found", "EntryNotFound")
        data, status, more = tree[path], 200, {}
        if given := self.headers.get("Range"):
            first, _, last = given.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1 if last else len(data), len(data))
            more = {"Content_Range": f"bytes {first}-{end - 1}/{len(data)}"}
            data, status = data[int(first) : end], 206
        commit = revision if revision in repo.trees else repo.heads[-1]
        return self._answer(data, status, ETag=f'"{_git(tree[path])}"', X_Repo_Commit=commit, **more)


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _about(repo: Repo, tree: dict[str, bytes], path: str) -> dict[str, Any]:
    data = tree[path]
    about: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _git(data)}
    if path in repo.large:
        about["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return about


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub of its own thread on loopback, without repositories."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
