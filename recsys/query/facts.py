"""`PersonFacts`: all that is known of one person up to a moment, whoever has read it.

The service fills it from the store, training and evaluation from the event log
(`recsys.dataset.person_records`); `recsys.query.builder` makes the `Query` of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np

from recsys.ids import Numbers, is_user_key
from recsys.query.feedback import NO_FEEDBACK, FeedbackState
from recsys.query.history import NO_ROWS, EventRows
from recsys.query.preferences import NO_PREFERENCES, Preferences
from recsys.query.profile import UNKNOWN, Profile

SESSION_GAP: Final = timedelta(minutes=30)
"""Where no session id is known, a silence of this length ends a visit."""
HISTORY_LIMIT: Final = 500
"""How many of the newest events a history holds, beside the kinds that have a limit of their own.
The service's own is set by `history_limit` in its configuration."""
LISTED_LIMIT: Final = 300
"""How many listed items (`view_item_list`) a history holds at most."""
FEEDBACK_LIMIT: Final = 1000
"""How many `feedback` rows a history holds at most."""
CUSTOM_LIMIT: Final = 200
"""How many `custom` events a history holds at most."""
ACCOUNT_LIMIT: Final = 300
"""How many events an account's history holds at most."""


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """What may be used about one person; all fields are empty for a stranger.

    `key` is the person key (`u:<user_id>`, `a:<anonymous_id>`), None without consent or id.
    `events` are the newest rows up to the limits above, refused items among them; `feedback` is
    their state at the moment of the question; `account` holds the events of the other members of
    the account that `profile` names. Declared interests are traits of `profile`
    (`recsys.query.preferences.with_interests`).
    """

    key: str | None = None
    events: EventRows = NO_ROWS
    feedback: FeedbackState = NO_FEEDBACK
    account: EventRows = NO_ROWS
    profile: Profile = UNKNOWN
    preferences: Preferences = NO_PREFERENCES

    def renumbered(self, numbers: Numbers) -> PersonFacts:
        """The facts over another vocabulary: `numbers[n]` is what item n is there, −1 nothing."""
        known = np.append(numbers, np.int32(-1))
        return replace(
            self,
            events=replace(self.events, items=known[self.events.items]),
            account=replace(self.account, items=known[self.account.items]),
        )

    @property
    def is_customer(self) -> bool:
        """Whether the person has a `user_id`."""
        return self.key is not None and is_user_key(self.key)


NO_FACTS: Final = PersonFacts()
"""Those of a stranger, and of somebody who has not agreed."""
