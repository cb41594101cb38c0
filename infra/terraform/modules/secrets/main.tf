# `portico deploy init` makes what is missing and replaces nothing. The state knows where the files lie and not one
# byte of what is in them; destroying this resource leaves them where they are.
locals {
  names = [
    "master_key", "keyring.json", "owner_key", "database_url", "postgres_password", "temporal_db_password",
    "portico_db_password", "opa_token", "s3_access_key", "s3_secret_key", "triton_admin_key", "sandbox_key",
    "metrics_token", "grafana_password",
  ]
  files = { for name in local.names : name => "${var.folder}/secrets/${name}" }
}

resource "terraform_data" "secrets" {
  triggers_replace = [var.folder]

  provisioner "local-exec" {
    command = "\"$PROGRAM\" deploy init \"$FOLDER\" --site \"$SITE\" --https-port \"$PORT\""
    environment = {
      PROGRAM = var.program
      FOLDER  = var.folder
      SITE    = var.site
      PORT    = var.https_port
    }
  }

  lifecycle {
    postcondition {
      # Looked at here, after the program has run; the id keeps it from being looked at before.
      condition     = self.id == "" || alltrue([for path in values(local.files) : fileexists(path)])
      error_message = "Missing: ${join(", ", [for path in values(local.files) : path if !fileexists(path)])}. Put them back from their copy. For a new deployment without data: take secrets/ away, then terraform apply -replace with this resource's address."
    }
  }
}
