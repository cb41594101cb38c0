# Two buckets on any S3: the objects, versioned, and the backups, versioned and locked. A bucket that holds objects is
# not deleted: `terraform destroy` stops at it.
locals {
  buckets = merge(
    { objects = { name = var.objects_bucket, lock = false } },
    var.backups_bucket == null ? {} : { backups = { name = var.backups_bucket, lock = true } },
  )
}

resource "aws_s3_bucket" "this" {
  for_each = local.buckets

  bucket              = each.value.name
  object_lock_enabled = each.value.lock
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
