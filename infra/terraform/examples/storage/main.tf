# The buckets on an S3 server of one's own. The keys come from the environment (AWS_ACCESS_KEY_ID,
# AWS_SECRET_ACCESS_KEY), so that no file and no state holds them. On AWS itself the provider needs its region alone.
terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

variable "s3_url" {
  description = "The S3 server, such as https://s3.example.com."
  type        = string

  validation {
    condition     = can(regex("^https?://[^/\\s]+$", var.s3_url))
    error_message = "s3_url is scheme, host and port alone, such as https://s3.example.com."
  }
}

variable "lock_days" {
  description = "How many days a backup cannot be deleted."
  type        = number
  default     = 30
}

variable "expire_versions_days" {
  description = "When older versions are gone for good; 0 where the server has no lifecycle rules."
  type        = number
  default     = 30
}

variable "lock_mode" {
  description = "GOVERNANCE or COMPLIANCE."
  type        = string
  default     = "GOVERNANCE"
}

variable "destroy_data" {
  description = "Let `terraform destroy` delete buckets that hold objects."
  type        = bool
  default     = false
}

provider "aws" {
  region                      = "us-east-1"
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true

  endpoints {
    s3 = var.s3_url
  }
}

module "storage" {
  source = "../../modules/storage"

  lock_days            = var.lock_days
  expire_versions_days = var.expire_versions_days == 0 ? null : var.expire_versions_days
  lock_mode            = var.lock_mode
  destroy_data         = var.destroy_data
}

output "buckets" {
  description = "For `[storage] bucket`, and for the backups."
  value       = [module.storage.objects_bucket, module.storage.backups_bucket]
}
