"""The tokens by which routers know the operator: one for each namespace, all from one key that only the operator has.

    Secret tidegate-key (operator's namespace) + uid of a namespace -> token -> Secret of its routers

Nothing but the key has to be kept: whichever process leads works out the same tokens. A namespace that is made anew
has another uid, and another token.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
from typing import TypeVar

from tidegate_cluster.api import Api, ApiError, Conflict, NotFound
from tidegate_contract import labels
from tidegate_contract.router import TOKEN_KEY
from tidegate_operator.cluster import resources as r
from tidegate_operator.core import router
from tidegate_operator.core.types import ABSENT, Manifest
from tidegate_operator.writer import Writer

KEY_SECRET, KEY = "tidegate-key", "key"
KEY_BYTES = 32

T = TypeVar("T")


class SecretInTheWay(ApiError):  # noqa: N818 - a fact
    """A Secret has the name of one of ours and is not; it is not touched. The message says what to do about it."""

    def __init__(self, message: str) -> None:
        super().__init__(409, message)


def token_of(key: bytes, namespace_uid: str) -> str:
    """What the routers of a namespace want to be shown: HMAC-SHA256 of its uid, 64 hex digits.

    >>> token_of(b"Jefe", "what do ya want for nothing?")  # test case 2 of RFC 4231
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'
    """
    return hmac.new(key, namespace_uid.encode(), hashlib.sha256).hexdigest()


class Tokens:
    """Reads the key, or makes it, once in a process; and looks after the Secrets of the routers."""

    def __init__(self, api: Api, writer: Writer, home: str) -> None:
        """`home`: the operator's own namespace."""
        self._api = api
        self._writer = writer
        self._home = home
        self._known: bytes | None = None
        self._making = asyncio.Lock()
        self._uids: dict[str, str] = {}

    async def token(self, namespace: str) -> str | None:
        """The token of a namespace, None if there is no such namespace.

        Raises what the API server answers, NotLeader if the key has to be made, and SecretInTheWay.
        """
        uid = self._uids.get(namespace) or await self._uid(namespace)
        return None if uid is None else token_of(await self._key(), uid)

    async def ensure(self, namespace: str, owners: list[Manifest]) -> None:
        """Make the Secret of the routers of a namespace hold its token, and have these ownerReferences.

        Nothing is written if it does. Raises NotLeader, what the API server answers (NotFound: the namespace is gone),
        and SecretInTheWay if the Secret is not ours.
        """
        found = await self._secret(namespace, router.NAME)
        if found is not None and not _is_ours(found):
            raise SecretInTheWay(f"Secret {namespace}/{router.NAME} is not the operator's: rename or delete it")
        uid = self._uids.get(namespace)
        if found is not None and uid and _holds(found, token_of(await self._key(), uid), owners):
            return
        uid = await self._uid(namespace)  # before anything is written: the namespace may be another one by now
        if uid is None:
            raise NotFound(404, f"namespace {namespace} is gone")
        token = token_of(await self._key(), uid)
        if found is None or not _holds(found, token, owners):
            version = ABSENT if found is None else found.metadata.resourceVersion
            data = {TOKEN_KEY: _encoded(token.encode())}
            await self._writer.secret(namespace, router.NAME, data, owners, labelled=router.SELECTED, version=version)

    async def _uid(self, namespace: str) -> str | None:
        """As it is now: a namespace that was made anew has another one."""
        self._uids.pop(namespace, None)
        found = await _unless_absent(self._api, r.NAMESPACES.path(name=namespace), r.Meta)
        if found is None:
            return None
        return self._uids.setdefault(namespace, found.metadata.uid)

    async def _key(self) -> bytes:
        async with self._making:  # one at a time: all namespaces begin at once
            if self._known is None:
                self._known = await self._read_key() or await self._make_key()
            return self._known

    async def _make_key(self) -> bytes:
        with contextlib.suppress(Conflict):  # somebody was faster, or the answer to our own try was lost
            data = {KEY: _encoded(secrets.token_bytes(KEY_BYTES))}
            await self._writer.secret(self._home, KEY_SECRET, data, [], version=ABSENT)
        made = await self._read_key()
        if made is None:
            raise Conflict(409, f"Secret {self._home}/{KEY_SECRET} was made and is gone again")
        return made

    async def _read_key(self) -> bytes | None:
        found = await self._secret(self._home, KEY_SECRET)
        if found is None:
            return None
        try:
            key = base64.b64decode(found.data.get(KEY, ""), validate=True)
        except binascii.Error:
            key = b""
        if len(key) < KEY_BYTES:
            raise SecretInTheWay(
                f"Secret {self._home}/{KEY_SECRET} has no key of {KEY_BYTES} bytes or more in `{KEY}`: delete it, and "
                "another one is made"
            )
        return key

    async def _secret(self, namespace: str, name: str) -> r.Secret | None:
        return await _unless_absent(self._api, r.SECRETS.path(namespace, name), r.Secret)


async def _unless_absent(api: Api, path: str, type: type[T]) -> T | None:
    try:
        return await api.get(path, type)
    except NotFound:
        return None


def _is_ours(secret: r.Secret) -> bool:
    """By its label, which a restore keeps, or by who has written it, which somebody who removes labels does not."""
    return _is_labelled(secret) or any(entry.is_ours for entry in secret.metadata.managedFields)


def _is_labelled(secret: r.Secret) -> bool:
    return secret.metadata.labels.get(labels.COMPONENT) == labels.ROUTER


def _holds(secret: r.Secret, token: str, owners: list[Manifest]) -> bool:
    known = {owner.uid for owner in secret.metadata.ownerReferences}
    told = secret.data.get(TOKEN_KEY, "")
    return told == _encoded(token.encode()) and known >= {owner["uid"] for owner in owners} and _is_labelled(secret)


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
