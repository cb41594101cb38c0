# The chart's manifests, each a resource: what others stand on first, then jobs, then what runs, waited for.
locals {
  cluster_wide = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "PriorityClass", "RuntimeClass"]
  running      = ["Deployment", "StatefulSet", "DaemonSet"]

  texts = [for text in split("\n---\n", "\n${var.manifests}\n") : text if can(regex("(?m)^[^#\\s]", text))]
  documents = { for text in local.texts : "${yamldecode(text).kind}/${try(yamldecode(text).metadata.namespace, "")}/${yamldecode(text).metadata.name}" => {
    text      = text
    kind      = yamldecode(text).kind
    namespace = contains(local.cluster_wide, yamldecode(text).kind) ? null : try(yamldecode(text).metadata.namespace, var.namespace)
    hook      = try(yamldecode(text).metadata.annotations["helm.sh/hook"], "")
  } }

  # Helm's hooks, in Helm's order; what `helm test` and a removal would run is no part of a deployment.
  applied = { for key, document in local.documents : key => document if !can(regex("test|delete", document.hook)) }
  after   = { for key, document in local.applied : key => document if can(regex("post-(install|upgrade)", document.hook)) && !can(regex("pre-(install|upgrade)", document.hook)) }
  jobs    = { for key, document in local.applied : key => document if document.kind == "Job" && !contains(keys(local.after), key) }
  kept    = { for key, document in local.applied : key => document if document.kind == "PersistentVolumeClaim" }
  parts   = { for key, document in local.applied : key => document if contains(local.running, document.kind) }
  base = { for key, document in local.applied : key => document
    if !contains(keys(merge(local.after, local.jobs, local.kept, local.parts)), key)
  }
}

resource "kubectl_manifest" "namespace" {
  count = var.create_namespace ? 1 : 0

  apply_only = !var.destroy_data
  wait       = true
  yaml_body = yamlencode({
    apiVersion = "v1"
    kind       = "Namespace"
    metadata = {
      name = var.namespace
      labels = {
        "pod-security.kubernetes.io/enforce" = var.pod_security
        "pod-security.kubernetes.io/warn"    = var.pod_security
      }
    }
  })
}

resource "kubectl_manifest" "kept" {
  for_each = local.kept

  yaml_body          = each.value.text
  override_namespace = each.value.namespace
  apply_only         = !var.destroy_data
  wait               = true

  depends_on = [kubectl_manifest.namespace]
}

resource "kubectl_manifest" "base" {
  for_each = local.base

  yaml_body          = each.value.text
  override_namespace = each.value.namespace

  depends_on = [kubectl_manifest.namespace]
}

# A job's template cannot change: another one takes its place.
resource "kubectl_manifest" "job" {
  for_each = local.jobs

  yaml_body          = each.value.text
  override_namespace = each.value.namespace
  force_new          = true
  wait               = true

  depends_on = [kubectl_manifest.base, kubectl_manifest.kept]
}

# Nothing gets ready before the job `prepare` has done its work: waiting for the pods is waiting for the job, too.
resource "kubectl_manifest" "part" {
  for_each = local.parts

  yaml_body          = each.value.text
  override_namespace = each.value.namespace
  wait_for_rollout   = true

  timeouts {
    create = var.rollout_timeout
  }

  depends_on = [kubectl_manifest.job]
}

# The provider takes an update that no controller has looked at yet for one that is rolled out. So each Deployment is
# looked at again, once all are on their way; this one deletes nothing.
resource "kubectl_manifest" "settled" {
  for_each = local.parts

  yaml_body          = each.value.text
  override_namespace = each.value.namespace
  wait_for_rollout   = true
  apply_only         = true

  timeouts {
    create = var.rollout_timeout
  }

  depends_on = [kubectl_manifest.part]
}

resource "kubectl_manifest" "after" {
  for_each = local.after

  yaml_body          = each.value.text
  override_namespace = each.value.namespace
  force_new          = true
  wait               = true

  depends_on = [kubectl_manifest.settled]
}
