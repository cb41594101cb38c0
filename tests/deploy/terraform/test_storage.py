"""The buckets, on a real S3 server."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from minio import Minio
from minio.commonconfig import GOVERNANCE
from minio.error import S3Error
from minio.objectlockconfig import DAYS, ObjectLockConfig

from tests.deploy.terraform.program import Terraform
from tests.portico.servers import KEY, SECRET, s3_server

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]
EXAMPLE = "examples/storage"
KEYS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with s3_server(tmp_path_factory.mktemp("s3")) as listening:
        yield listening


@pytest.fixture(scope="module")
def s3(port: int) -> Minio:
    return Minio(f"127.0.0.1:{port}", access_key=KEY, secret_key=SECRET, secure=False, region="us-east-1")


def _words(port: int, **more: str) -> tuple[str, ...]:
    """This server has no lifecycle rules."""
    given = {"s3_url": f"http://127.0.0.1:{port}", "expire_versions_days": "0", **more}
    return ("-no-color", "-input=false", *(f"-var={name}={value}" for name, value in given.items()))


@pytest.fixture(scope="module")
def applied(terraform: Terraform, port: int) -> Terraform:
    terraform.init(EXAMPLE)
    terraform.run(EXAMPLE, "apply", "-auto-approve", *_words(port), more=KEYS)
    return terraform


def test_a_second_plan_is_empty(applied: Terraform, port: int) -> None:
    applied.run(EXAMPLE, "plan", "-detailed-exitcode", *_words(port), more=KEYS)


def test_the_state_holds_no_key(applied: Terraform) -> None:
    assert SECRET not in applied.state(EXAMPLE)


def test_both_buckets_keep_versions_and_backups_are_locked(applied: Terraform, s3: Minio) -> None:
    objects, backups = applied.outputs(EXAMPLE)["buckets"]
    assert [s3.get_bucket_versioning(name).status for name in (objects, backups)] == ["Enabled", "Enabled"]
    lock = s3.get_object_lock_config(backups)
    assert (lock.mode, lock.duration, lock.duration_unit) == (GOVERNANCE, 30, DAYS)


def test_a_backup_cannot_be_deleted_and_an_object_can(applied: Terraform, s3: Minio) -> None:
    objects, backups = applied.outputs(EXAMPLE)["buckets"]
    kept = s3.put_object(backups, "backup", io.BytesIO(b"kept"), 4)
    with pytest.raises(S3Error, match=r"(?i)lock|denied"):
        s3.remove_object(backups, "backup", version_id=kept.version_id)
    lost = s3.put_object(objects, "object", io.BytesIO(b"lost"), 4)
    s3.remove_object(objects, "object", version_id=lost.version_id)


def test_what_was_changed_by_hand_is_seen_and_put_right(applied: Terraform, s3: Minio, port: int) -> None:
    _, backups = applied.outputs(EXAMPLE)["buckets"]
    s3.set_object_lock_config(backups, ObjectLockConfig(GOVERNANCE, 1, DAYS))
    applied.run(EXAMPLE, "plan", "-detailed-exitcode", *_words(port), more=KEYS, code=2)
    applied.run(EXAMPLE, "apply", "-auto-approve", *_words(port), more=KEYS)
    assert s3.get_object_lock_config(backups).duration == 30


def test_destroy_stops_at_objects_unless_told_otherwise(applied: Terraform, s3: Minio, port: int) -> None:
    objects, _ = applied.outputs(EXAMPLE)["buckets"]
    s3.put_object(objects, "object", io.BytesIO(b"here"), 4)
    said = applied.run(EXAMPLE, "destroy", "-auto-approve", *_words(port), more=KEYS, code=1)
    assert "BucketNotEmpty" in said.output
    assert s3.get_object(objects, "object").data == b"here"
    applied.run(EXAMPLE, "apply", "-auto-approve", *_words(port, destroy_data="true"), more=KEYS)
    s3.remove_object(objects, "object")
    applied.run(EXAMPLE, "destroy", "-auto-approve", *_words(port, destroy_data="true"), more=KEYS)
    assert not s3.bucket_exists(objects)
