"""Whole rotations in one step, for homes that no process uses."""

from __future__ import annotations

from portico.crypto.keyring import load_master_key
from portico.crypto.rotation import (
    announce_key,
    begin_master_rotation,
    end_master_rotation,
    make_current,
    replace_master_file,
    rotation_lock,
    stored_in,
)
from portico.settings.home import Home


def rotate_master_key(home: Home, *, new: bytes) -> None:
    """All of a rotation of the master key of a home, where no process has to be waited for."""
    stored = stored_in(home)
    with rotation_lock(stored.keyring.parent):
        new = begin_master_rotation(stored, current=load_master_key(home), new=new)
        replace_master_file(stored)
        end_master_rotation(stored, master=new)


def add_data_key(home: Home, purpose: str) -> None:
    """A new current key in one step, for a home that no process uses."""
    stored = stored_in(home)
    with rotation_lock(stored.keyring.parent):
        make_current(stored, announce_key(stored, purpose, master=load_master_key(home)).id)
