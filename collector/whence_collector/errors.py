"""Every error that the collector names; messages hold the offending item and the remedy.

May not know gRPC or exit codes: status.py maps these classes to both.
"""

# ruff: noqa: N818 -- each name says the condition; "Error" would add nothing to NotFound.
from __future__ import annotations


class CollectorError(Exception):
    """Something that a person or a peer can act on; the message is one sentence."""


# At start: the process ends with one line and exit code 2.


class InvalidSetting(CollectorError):
    """A flag or environment variable holds what it may not."""


class SchemaTooNew(CollectorError):
    """The data directory was written by a newer version."""


class DataDirectoryUnusable(CollectorError):
    """The data directory cannot be created, read, or holds something else."""


class DataDirectoryInUse(CollectorError):
    """Another collector holds the database file."""


class BackupUnusable(CollectorError):
    """A copy of the database cannot be used."""


class AddressUnusable(CollectorError):
    """The collector cannot listen where it was told to."""


# Money.


class InvalidPrices(CollectorError):
    """The price file holds what it may not; the prices before it stay in force."""


# Ingest.


class InvalidBatch(CollectorError):
    """A batch breaks a rule of ingest.proto; none of it was stored."""


class InvalidStream(CollectorError):
    """A stream did not begin with Hello, or said it twice."""


class NotAllowed(CollectorError):
    """A peer asks for what it has no right to; the message says how it gets one."""


class WireTooNew(CollectorError):
    """A daemon speaks a newer wire than this collector."""


class StorageUnavailable(CollectorError):
    """The database cannot be read or written now; what is committed is intact."""


class BatchNotStored(CollectorError):
    """A valid batch could not be stored because of a fault of the collector."""


# Answers.


class NotFound(CollectorError):
    """Nothing known under the name that was asked for."""


class InvalidRequest(CollectorError):
    """A request that cannot be understood, or matches more than one thing."""


class QueryRefused(CollectorError):
    """SQL that does more than read the stable views."""


class QueryInvalid(CollectorError):
    """SQL that the database does not understand."""


class QueryTooLong(CollectorError):
    """SQL that ran past its time limit."""


# Training requests.


class RefusedAct(CollectorError):
    """An act that a rule of training requests forbids; code names the rule."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class CardIncomplete(CollectorError):
    """A request that lacks something; the fields are named one by one."""
