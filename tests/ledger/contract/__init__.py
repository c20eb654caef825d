"""What every ledger must do, by topic. A store is proven by a subclass of the whole; see test_contract.py.

Topics: :mod:`building`, :mod:`intents`, :mod:`results`, :mod:`claims`, :mod:`targets`, :mod:`lease`,
:mod:`migration`, :mod:`pauses`, :mod:`reading`, :mod:`versions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ledger.contract.building import Building
from tests.ledger.contract.claims import Claims
from tests.ledger.contract.intents import Intents
from tests.ledger.contract.lease import LeaseTopic
from tests.ledger.contract.migration import Migration
from tests.ledger.contract.pauses import Pauses
from tests.ledger.contract.reading import Reading
from tests.ledger.contract.results import Results
from tests.ledger.contract.targets import Targets
from tests.ledger.contract.versions import Versions

if TYPE_CHECKING:
    from tests.ledger.contract.facts import Put, Rival, Store


class LedgerContract(Building, Intents, Results, Claims, Targets, LeaseTopic, Migration, Pauses, Reading, Versions):
    """The obligations of :class:`provisioner.ledger.Ledger`, one test each."""

    @pytest.fixture
    def where(self) -> str:
        """The location of the ledger under test."""
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> Store:
        """Opens the store under test; subclasses say how."""
        raise NotImplementedError

    @pytest.fixture
    def rival(self) -> Rival:
        """Opens the store under test although another run has it; subclasses say how a lease is lost."""
        raise NotImplementedError

    @pytest.fixture
    def older(self) -> Put:
        """Puts the ledger of ``schema-1.sql`` there."""
        raise NotImplementedError

    @pytest.fixture
    def newer(self) -> Put:
        """Gives the ledger that is there the schema version 99."""
        raise NotImplementedError
