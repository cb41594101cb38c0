# Two buckets on any S3, both with versions and object lock. Backups are locked by default; an object is locked only where
# somebody says so, because Portico has to be able to forget. A bucket that holds objects is not deleted: `terraform
# destroy` stops at it.
locals {
  buckets = merge(
    { objects = { name = var.objects_bucket, lock = false } },
    var.backups_bucket == null ? {} : { backups = { name = var.backups_bucket, lock = true } },
  )
}

resource "aws_s3_bucket" "this" {
  for_each = local.buckets

  bucket              = each.value.name
  object_lock_enabled = true
  force_destroy       = var.destroy_data
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "backups" {
  for_each = { for key, bucket in local.buckets : key => bucket if bucket.lock }

  bucket = aws_s3_bucket_versioning.this[each.key].bucket

  rule {
    default_retention {
      mode = var.lock_mode
      days = var.lock_days
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "objects" {
  count = var.expire_versions_days == null ? 0 : 1

  bucket = aws_s3_bucket_versioning.this["objects"].bucket

  rule {
    id     = "older versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.expire_versions_days
    }

    expiration {
      expired_object_delete_marker = true
    }
  }
}
