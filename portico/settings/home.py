"""Paths of one Portico below `PORTICO_HOME`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from portico.errors import Misconfigured

DEFAULT_HOME = "~/.local/share/portico"


@dataclass(frozen=True)
class Home:
    """The state directory of one Portico. All of it belongs to its owner alone (mode 0700)."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        return cls(Path(os.environ.get("PORTICO_HOME") or DEFAULT_HOME).expanduser().absolute())  # noqa: TID251

    def make(self) -> None:
        """Create the directories that every part expects; only the owner may enter.

        Raises `Misconfigured` where a restore was broken off: nothing may start on half of a home.
        """
        if self.unfinished_restore.exists():
            raise Misconfigured(
                f"a restore into {self.root} was broken off; give the same `portico restore` again"
            )
        for path in (self.root, self.run, self.logs, self.intents, self.policies, self.language_models):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)

    @property
    def settings(self) -> Path:
        return self.root / "portico.toml"

    @property
    def master_key(self) -> Path:
        return self.root / "master.key"

    @property
    def keyring(self) -> Path:
        return self.root / "keyring.json"

    @property
    def cli_key(self) -> Path:
        return self.root / "cli.key"

    @property
    def database(self) -> Path:
        return self.root / "portico.db"

    @property
    def unfinished_restore(self) -> Path:
        """Exists while files of a backup replace those of the home."""
        return self.root / "restore.unfinished"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def language_models(self) -> Path:
        """A model repository of its own: `models` is made again as a whole when the intents or a recipe change."""
        return self.root / "language-models"

    @property
    def pulls(self) -> Path:
        """Downloads of language models in progress; nothing here is served."""
        return self.root / "pulls"

    @property
    def intents(self) -> Path:
        return self.root / "intents"

    @property
    def functions(self) -> Path:
        return self.root / "functions"

    @property
    def policies(self) -> Path:
        return self.root / "policies"

    @property
    def temporal(self) -> Path:
        return self.root / "temporal"

    @property
    def blobs(self) -> Path:
        return self.root / "s3"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def understand_counts(self) -> Path:
        """Hit counts of the worker's understand cache, for the edge's metrics."""
        return self.run / "understand-cache.json"

    @property
    def parts(self) -> Path:
        return self.run / "parts.json"

    @property
    def credentials(self) -> Path:
        return self.run / "credentials.json"

    @property
    def sandbox(self) -> Path:
        return self.root / "sandbox"

    @property
    def sandbox_state(self) -> Path:
        return self.run / "sandbox.json"

    @property
    def live_socket(self) -> Path:
        return self.run / "live.sock"
