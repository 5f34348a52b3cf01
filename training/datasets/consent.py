"""Consent of imported history: stated at the import or carried by the file, never guessed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from recsys.errors import InvalidInput
from recsys.events.schema import Consent, Event
from recsys.query.profile import Profile

ConsentStatement = Literal["assumed", "absent"]
"""`assumed`: everybody in the file agreed when the events happened. `absent`: nobody was asked."""

AGREED: Final = Consent(personalization=True, analytics=True)


class ConsentMissing(InvalidInput):
    """A file names persons and their consent is not stated."""

    def __init__(self, line: int) -> None:
        super().__init__(
            f"line {line}: consent",
            None,
            "the line names a person; say --consent assumed if everybody in the file agreed to "
            "personalisation, --consent absent to import it as nobody's, or give a consent column",
        )


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """The statement about the file, and the keys of persons whose refusal is on record.

    A consent in the file itself goes before the statement, and a refusal on record goes before an
    assumption.
    """

    statement: ConsentStatement | None = None
    refused: Collection[str] = frozenset()

    def event(self, event: Event, *, line: int) -> Event:
        """The event with the consent that holds for it; ConsentMissing where neither states it."""
        key = event.person.key
        if key is None or event.consent is not None or not self._agreed(key, line):
            return event
        return msgspec.structs.replace(event, consent=AGREED)

    def allows(self, profile: Profile, *, line: int) -> bool:
        """Whether the profile may be stored; ConsentMissing where neither states it."""
        key = profile.person.key
        return profile.consent is not None or (key is not None and self._agreed(key, line))

    def _agreed(self, key: str, line: int) -> bool:
        if self.statement is None:
            raise ConsentMissing(line)
        return self.statement == "assumed" and key not in self.refused
