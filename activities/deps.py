"""What the activities work with: repositories and clients, made once by the worker and handed down."""

from __future__ import annotations

from dataclasses import dataclass

from channels.registry import Accounts
from portico.llm.routes import ModelRoutes
from portico.policy.opa import PolicyClient
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.data_classes import DataClasses
from portico.storage.dead_letters import DeadLetters
from portico.storage.inbox import Inbox
from portico.storage.live.hub import LivePublisher
from portico.storage.memory import Memory
from portico.storage.objects.artifacts import Artifacts
from portico.storage.objects.blobs import BlobStore
from portico.storage.outbox import Outbox
from portico.storage.people import People
from portico.storage.secrets import SecretStore
from portico.storage.usage import ModelUsage
from portico.tools.catalog import Catalog
from portico.triton.understand_cache import UnderstandCache


@dataclass(frozen=True)
class Deps:
    """Everything that has an effect. One object for each process."""

    home: Home
    settings: Settings
    accounts: Accounts
    people: People
    inbox: Inbox
    outbox: Outbox
    memory: Memory
    dead_letters: DeadLetters
    blobs: BlobStore
    live: LivePublisher
    policy: PolicyClient
    understand: UnderstandCache
    routes: ModelRoutes
    usage: ModelUsage
    data_classes: DataClasses
    secrets: SecretStore
    artifacts: Artifacts
    catalog: Catalog
