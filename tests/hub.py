"""A model hub on the loopback: what huggingface_hub needs to make a repository, send and fetch."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import yaml
from hub_files import Fault, FilesHandler, git_hash, is_large
from loopback import Loopback


class Asked(NamedTuple):
    """A request: method, path, its Range header and the token, "" for none."""

    method: str
    path: str
    range: str
    token: str


class Hub(Loopback):
    """Keeps repositories in memory.

    Large files lie in a blob store under another host name, as those of the real hub.

    Attributes:
        writers: token -> owner whose repositories it may write and see.
        readers: tokens that see everything and write nothing.
        strangers: tokens that are valid and have no rights; any other token is refused.
        repositories: name -> Repository.
        large: SHA-256 -> content of the files in large storage.
        blobs: the same of those whose address was told.
        asked: each request, as Asked.
        faults: what goes wrong, see `fault`.
        answer: called with each handler before it is answered; it may answer itself, and return
            True.
    """

    def __init__(self):
        self.writers, self.readers = {"hf_writer": "me"}, {"hf_reader"}
        self.strangers = {"hf_stranger"}
        self.repositories, self.large, self.asked = {}, {}, []
        self.blobs, self.faults, self.over = {}, [], threading.Event()
        self._lock = threading.Lock()
        self.answer = lambda handler: False
        super().__init__(_Handler)

    def __exit__(self, *_):
        self.over.set()
        super().__exit__()

    @property
    def url(self) -> str:
        return self.address

    @property
    def store(self) -> str:
        """The address of the blob store."""
        return self.address.replace("127.0.0.1", "localhost")

    @property
    def tokens(self) -> set[str]:
        """What is no wrong token."""
        return {"", *self.writers, *self.readers, *self.strangers}

    def add(self, name: str, files: dict[str, bytes], **settings) -> Repository:
        """A repository with these files, put there by someone else."""
        made = self.repositories[name] = Repository(**settings)
        made.commit(files)
        self.large |= {hashlib.sha256(x).hexdigest(): x for x in files.values()}
        return made

    def fault(self, kind: str, where: str, **settings) -> Fault:
        """Let something go wrong with the requests whose path has `where` (see Fault)."""
        self.faults.append(made := Fault(kind, where, **settings))
        return made

    def due(self, kinds: tuple[str, ...], method: str, path: str) -> Fault | None:
        """The first fault of these kinds for a request, and one time less of it."""
        with self._lock:
            for fault in self.faults:
                if fault.kind in kinds and fault.is_due(method, path):
                    fault.times -= 1
                    return fault
        return None

    def fetched(self, path: str) -> list[Asked]:
        """The requests for the content of a file, without those that were sent elsewhere."""
        return [
            one
            for one in self.asked
            if one.method == "GET" and one.path.endswith(path) and "/resolve/" not in one.path
        ]


class Repository:
    """Files by commit; the last one is main.

    Args:
        private: whether only its owner and readers see it.
        gated: whether its files are closed to all but its owner.
    """

    def __init__(self, private: bool = False, gated: bool = False):
        self.private, self.gated = private, gated
        self.commits: dict[str, dict[str, bytes]] = {}
        self.commit({".gitattributes": b"*.safetensors filter=lfs\n"})

    @property
    def main(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.main]

    def at(self, commit: str) -> dict[str, bytes]:
        """The files of a commit, or of main."""
        return self.files if commit == "main" else self.commits[commit]

    def commit(self, added: dict[str, bytes], gone=()) -> None:
        before = self.files if self.commits else {}
        files = {path: x for path, x in before.items() if path not in gone} | added
        text = f"{len(self.commits)} {sorted(files)}".encode()
        self.commits[hashlib.sha1(text).hexdigest()] = files


class _Handler(FilesHandler):
    def do_POST(self):
        self._answer()

    do_PUT = do_GET = do_HEAD = do_POST

    def log_message(self, *_):
        pass

    def _answer(self):
        self.body = self._read()
        path = unquote(urlsplit(self.path).path)  # a proxy is asked for a whole address
        asked = Asked(self.command, path, self.headers.get("Range", ""), self.token)
        self.server.asked.append(asked)
        if self.server.answer(self):
            return
        if fault := self.server.due(("status",), self.command, path):
            self.reply(fault.status, error=fault.words, headers=fault.headers)
            return
        if self.token not in self.server.tokens:
            self.reply(401, error="Invalid credentials in Authorization header")
            return
        for method, pattern, act in (
            ("POST", "/api/repos/create", self._create),
            ("POST", "/api/validate-yaml", self._validate),
            ("POST", "/api/models/(.+)/preupload/main", self._preupload),
            ("POST", r"/(.+)\.git/info/lfs/objects/batch", self._batch),
            ("PUT", "/large/(.+)", self._store),
            ("POST", "/api/models/(.+)/commit/main", self._commit),
            ("GET", "/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/(.+))?", self._tree),
            ("GET", "/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._info),
            ("GET|HEAD", "/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
            ("GET|HEAD", "/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.+)", self._small),
            ("GET|HEAD", "/blobs/([^/]+)/.+", self._blob),
        ):
            found = re.fullmatch(pattern, path)
            if found and re.fullmatch(method, self.command):
                act(*found.groups())
                return
        self.reply(404, error=f"Nothing answers {self.command} {path}")

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    # who asks

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def seen(self, name: str) -> Repository | None:
        """The repository if this token sees it; otherwise it is answered."""
        found = self.server.repositories.get(name)
        owner = self.server.writers.get(self.token)
        sees = owner == name.partition("/")[0] or self.token in self.server.readers
        if found and (sees or not found.private):
            return found
        self.reply(404 if self.token else 401, code="RepoNotFound", error="Repository not found")
        return None

    def opened(self, name: str) -> Repository | None:
        """The repository if this token may read its files; otherwise it is answered."""
        found = self.seen(name)
        if not found or not found.gated:
            return found
        if self.server.writers.get(self.token) == name.partition("/")[0]:
            return found
        words = f"Access to model {name} is restricted"
        self.reply(403 if self.token else 401, code="GatedRepo", error=words)
        return None

    def _written(self, name: str) -> Repository | None:
        found = self.seen(name)
        if found and self.server.writers.get(self.token) != name.partition("/")[0]:
            self.reply(403, error="You don't have the required permissions")
            return None
        return found

    # what is asked

    def _create(self):
        asked = json.loads(self.body)
        owner = self.server.writers.get(self.token)
        name = f"{asked['organization'] or owner}/{asked['name']}"
        if owner is None:
            self.reply(403 if self.token in self.server.readers else 401, error="no rights")
        elif owner != name.partition("/")[0]:
            self.reply(403, error="not your namespace")
        elif name in self.server.repositories:
            self.reply(409, error="You already created this model repo")
        else:
            private = asked.get("private", asked.get("visibility") == "private")
            self.server.repositories[name] = Repository(private)
            self.reply(200, {"url": f"{self.server.url}/{name}"})

    def _validate(self):
        content = json.loads(self.body)["content"]
        found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        try:
            assert isinstance(yaml.safe_load(found[1]), dict)
            self.reply(200, {"errors": [], "warnings": []})
        except (yaml.YAMLError, AssertionError, TypeError) as error:
            self.reply(400, {"errors": [{"message": str(error)}], "warnings": []})

    def _preupload(self, name):
        if self._written(name):
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body)["files"]
            ]
            self.reply(200, {"files": modes})

    def _batch(self, name):
        if self._written(name):
            objects = [
                one
                if one["oid"] in self.server.large
                else {
                    **one,
                    "actions": {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}},
                }
                for one in json.loads(self.body)["objects"]
            ]
            self.reply(200, {"transfer": "basic", "objects": objects})

    def _store(self, digest):
        assert hashlib.sha256(self.body).hexdigest() == digest
        self.server.large[digest] = self.body
        self.reply(200, {})

    def _commit(self, name):
        if not (found := self._written(name)):
            return
        added, gone = {}, []
        for line in self.body.splitlines():
            key, value = (item := json.loads(line))["key"], item["value"]
            if key == "header" and value.get("parentCommit", found.main) != found.main:
                self.reply(412, error="A commit has happened since. Please refresh and try again.")
                return
            if key == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                added[value["path"]] = self.server.large[value["oid"]]
            elif key == "deletedFile":
                gone.append(value["path"])
        found.commit(added, gone)
        where = f"{self.server.url}/{name}/commit/{found.main}"
        self.reply(200, {"commitUrl": where, "commitOid": found.main})

    def _info(self, name, _):
        if found := self.seen(name):
            files = [{"rfilename": path} for path in found.files]
            facts = {"id": name, "modelId": name, "sha": found.main, "siblings": files}
            gated = "manual" if found.gated else False
            self.reply(200, {**facts, "private": found.private, "gated": gated, "tags": []})

    def _tree(self, name, commit, folder):
        if not (found := self.seen(name)):
            return
        entries = []
        for path, content in found.at(commit).items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
            if is_large(path):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
            if not folder or path.startswith(f"{folder}/"):
                entries.append(entry)
        if folder and not entries:
            self.reply(404, code="EntryNotFound", error="Entry not found")
        else:
            self.reply(200, entries)
