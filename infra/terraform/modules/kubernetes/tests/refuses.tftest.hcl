mock_provider "kubectl" {}

variables {
  manifests = <<-EOT
    ---
    # Source: portico/templates/job.yaml
    apiVersion: batch/v1
    kind: Job
    metadata:
      name: prepare
      annotations:
        helm.sh/hook: pre-install,pre-upgrade
    ---
    # Source: portico/templates/empty.yaml
    ---
    # Source: portico/templates/claim.yaml
    apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: models
    ---
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: settings
      annotations:
        helm.sh/hook: pre-install,pre-upgrade,post-install,post-upgrade
    data:
      text: |
        one
         ---
        two
    ---
    apiVersion: node.k8s.io/v1
    kind: RuntimeClass
    metadata:
      name: gvisor
    ---
    apiVersion: v1
    kind: Pod
    metadata:
      name: tried
      annotations:
        helm.sh/hook: test
    ---
    apiVersion: batch/v1
    kind: Job
    metadata:
      name: promote
      annotations:
        helm.sh/hook: post-install,post-upgrade
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: api
      namespace: elsewhere
  EOT
}

run "puts_each_document_into_its_stage" {
  command = plan

  assert {
    condition     = output.resources.base == tolist(["ConfigMap//settings", "RuntimeClass//gvisor"])
    error_message = "What others stand on comes first."
  }

  assert {
    condition     = output.resources.jobs == tolist(["Job//prepare"]) && output.resources.after == tolist(["Job//promote"])
    error_message = "Hooks keep Helm's order, and those of a test are left out."
  }

  assert {
    condition     = output.resources.kept == tolist(["PersistentVolumeClaim//models"]) && output.resources.parts == tolist(["Deployment/elsewhere/api"])
    error_message = "What holds data and what runs are apart."
  }

  assert {
    condition     = kubectl_manifest.part["Deployment/elsewhere/api"].wait_for_rollout && kubectl_manifest.job["Job//prepare"].force_new
    error_message = "Pods are waited for; a job is replaced."
  }

  assert {
    condition     = kubectl_manifest.base["ConfigMap//settings"].override_namespace == "portico" && kubectl_manifest.base["RuntimeClass//gvisor"].override_namespace == null
    error_message = "What belongs to a namespace goes into the given one."
  }
}

run "keeps_the_namespace_and_claims_unless_told_otherwise" {
  command = plan

  assert {
    condition     = kubectl_manifest.namespace[0].apply_only && kubectl_manifest.kept["PersistentVolumeClaim//models"].apply_only
    error_message = "destroy deletes neither."
  }
}

run "deletes_the_namespace_when_told_so" {
  command = plan
  variables {
    destroy_data = true
  }

  assert {
    condition     = !kubectl_manifest.namespace[0].apply_only && !kubectl_manifest.kept["PersistentVolumeClaim//models"].apply_only
    error_message = "destroy_data reaches both."
  }
}

run "makes_no_namespace_where_there_is_one" {
  command = plan
  variables {
    create_namespace = false
  }

  assert {
    condition     = length(kubectl_manifest.namespace) == 0
    error_message = "The namespace is somebody else's."
  }
}

run "refuses_text_that_is_no_yaml" {
  command = plan
  variables {
    manifests = "kind: [Deployment"
  }
  expect_failures = [var.manifests]
}

run "refuses_nothing" {
  command = plan
  variables {
    manifests = ""
  }
  expect_failures = [var.manifests]
}

run "refuses_a_secret_that_would_lie_in_the_state" {
  command = plan
  variables {
    manifests = "kind: Secret\nmetadata:\n  name: a\n---\nkind: Deployment\nmetadata:\n  name: a\n"
  }
  expect_failures = [var.manifests]
}

run "refuses_the_default_namespace" {
  command = plan
  variables {
    namespace = "default"
  }
  expect_failures = [var.namespace]
}

run "refuses_a_namespace_with_dots" {
  command = plan
  variables {
    namespace = "a.b"
  }
  expect_failures = [var.namespace]
}

run "refuses_another_level" {
  command = plan
  variables {
    pod_security = "strict"
  }
  expect_failures = [var.pod_security]
}

run "refuses_a_timeout_without_unit" {
  command = plan
  variables {
    rollout_timeout = "10"
  }
  expect_failures = [var.rollout_timeout]
}
