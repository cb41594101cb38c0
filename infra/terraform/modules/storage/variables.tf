variable "objects_bucket" {
  description = "Bucket of Portico's encrypted objects: `[storage] bucket` in the settings."
  type        = string
  default     = "portico"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.objects_bucket))
    error_message = "objects_bucket is 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "backups_bucket" {
  description = "Bucket of the backups, locked against deletion; null for none."
  type        = string
  default     = "portico-backups"

  validation {
    condition     = var.backups_bucket == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.backups_bucket))
    error_message = "backups_bucket is 3 to 63 lower-case letters, digits and hyphens, or null."
  }

  validation {
    condition     = var.backups_bucket != var.objects_bucket
    error_message = "Backups go into a bucket of their own: the lock would keep objects that Portico has to forget."
  }
}

variable "expire_versions_days" {
  description = "After how many days older versions of objects, and what Portico deleted, are gone for good. Null where the server has no lifecycle rules, as VersityGW: then they stay."
  type        = number
  default     = 30

  validation {
    condition     = var.expire_versions_days == null || try(var.expire_versions_days >= 1 && floor(var.expire_versions_days) == var.expire_versions_days, false)
    error_message = "expire_versions_days is a whole number of days, 1 or more, or null."
  }
}

variable "lock_days" {
  description = "How many days a backup cannot be deleted or overwritten."
  type        = number
  default     = 30

  validation {
    condition     = var.lock_days >= 1 && var.lock_days <= 3650 && floor(var.lock_days) == var.lock_days
    error_message = "lock_days is a whole number from 1 to 3650."
  }
}

variable "lock_mode" {
  description = "GOVERNANCE: who has a special permission may still delete. COMPLIANCE: nobody may, not the account's owner either."
  type        = string
  default     = "GOVERNANCE"

  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.lock_mode)
    error_message = "lock_mode is GOVERNANCE or COMPLIANCE."
  }
}

variable "destroy_data" {
  description = "True lets `terraform destroy` delete buckets that hold objects. Apply it first, then destroy. What COMPLIANCE locks stays anyway."
  type        = bool
  default     = false
}
