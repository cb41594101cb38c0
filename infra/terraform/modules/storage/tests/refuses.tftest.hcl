mock_provider "aws" {}

run "plans_two_buckets_of_which_one_is_locked_by_default" {
  command = plan

  assert {
    condition     = alltrue([for bucket in values(aws_s3_bucket.this) : bucket.object_lock_enabled])
    error_message = "Both can lock."
  }

  assert {
    condition     = keys(aws_s3_bucket_object_lock_configuration.backups) == ["backups"]
    error_message = "Only backups are locked by default."
  }

  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.objects[0].rule[0].noncurrent_version_expiration[0].noncurrent_days == 30
    error_message = "What was deleted is gone after a while."
  }

  assert {
    condition     = alltrue([for bucket in values(aws_s3_bucket_versioning.this) : bucket.versioning_configuration[0].status == "Enabled"])
    error_message = "Every bucket keeps versions."
  }

  assert {
    condition     = alltrue([for bucket in values(aws_s3_bucket.this) : !bucket.force_destroy])
    error_message = "Nothing deletes objects unless it was told to."
  }
}

run "leaves_backups_out_where_they_go_elsewhere" {
  command = plan
  variables {
    backups_bucket = null
  }

  assert {
    condition     = keys(aws_s3_bucket.this) == ["objects"] && length(aws_s3_bucket_object_lock_configuration.backups) == 0
    error_message = "No bucket for backups."
  }
}

run "deletes_objects_when_told_so" {
  command = plan
  variables {
    destroy_data = true
  }

  assert {
    condition     = alltrue([for bucket in values(aws_s3_bucket.this) : bucket.force_destroy])
    error_message = "destroy_data reaches every bucket."
  }
}

run "makes_no_rule_where_the_server_has_none" {
  command = plan
  variables {
    expire_versions_days = null
  }

  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.objects) == 0
    error_message = "Some servers refuse lifecycle rules."
  }
}

run "refuses_versions_that_go_at_once" {
  command = plan
  variables {
    expire_versions_days = 0
  }
  expect_failures = [var.expire_versions_days]
}

run "refuses_a_bucket_name_with_capitals" {
  command = plan
  variables {
    objects_bucket = "Portico"
  }
  expect_failures = [var.objects_bucket]
}

run "refuses_a_short_bucket_name" {
  command = plan
  variables {
    backups_bucket = "b"
  }
  expect_failures = [var.backups_bucket]
}

run "refuses_one_bucket_for_both" {
  command = plan
  variables {
    backups_bucket = "portico"
  }
  expect_failures = [var.backups_bucket]
}

run "refuses_a_lock_of_no_days" {
  command = plan
  variables {
    lock_days = 0
  }
  expect_failures = [var.lock_days]
}

run "refuses_another_mode" {
  command = plan
  variables {
    lock_mode = "compliance"
  }
  expect_failures = [var.lock_mode]
}
