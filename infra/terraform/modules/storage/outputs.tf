output "objects_bucket" {
  description = "For `[storage] bucket`."
  value       = aws_s3_bucket_versioning.this["objects"].bucket
}

output "backups_bucket" {
  description = "Where backups go, or null."
  value       = try(aws_s3_bucket_object_lock_configuration.backups["backups"].bucket, null)
}
