"""The keys that people sign with, wherever they are kept: files, environment, tokens."""

from lodeline.signing.keys import SigningKey, create_key, load_key, load_verifier
from lodeline.signing.tokens import OpenSession, Session, TokenKey, open_session

__all__ = [
    "OpenSession",
    "Session",
    "SigningKey",
    "TokenKey",
    "create_key",
    "load_key",
    "load_verifier",
    "open_session",
]
