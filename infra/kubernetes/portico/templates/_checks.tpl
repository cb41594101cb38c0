{{/* What the schema cannot say; each ends the command with one line. */}}
{{- define "portico.check" -}}
{{- $values := .Values -}}
{{- if not $values.site }}{{ fail "site is not set: the host name under which people reach Portico, such as chat.example.com" }}{{ end -}}
{{- if not $values.temporal.address }}{{ fail "temporal.address is not set: host:port of Temporal's frontend, such as temporal-frontend.temporal:7233" }}{{ end -}}
{{- $temporal := $values.temporal -}}
{{- if and (not $temporal.tls.enabled) (or $temporal.tls.secret $temporal.tls.name $temporal.tls.clientCertificate $temporal.apiKeySecret) }}{{ fail "temporal.tls.enabled is false, but a certificate, a name or an API key is given: set it to true" }}{{ end -}}
{{- if and $temporal.tls.clientCertificate (not $temporal.tls.secret) }}{{ fail "temporal.tls.clientCertificate needs temporal.tls.secret, which holds it" }}{{ end -}}
{{- if and $temporal.apiKeySecret $values.temporalUi.enabled }}{{ fail "temporal.apiKeySecret: the UI cannot log in with a key; set temporalUi.enabled=false and use the provider's own" }}{{ end -}}
{{- if not $values.storage.url }}{{ fail "storage.url is not set: where S3 is, such as https://s3.example.com" }}{{ end -}}
{{- if and (not $values.triton.enabled) (not $values.triton.address) }}{{ fail "triton.address is not set, and triton.enabled is false: without Triton no message is understood" }}{{ end -}}
{{- if and $values.ingress.enabled $values.gateway.enabled }}{{ fail "ingress.enabled and gateway.enabled exclude each other: set one to false" }}{{ end -}}
{{- if and $values.gateway.enabled (not $values.gateway.parentRefs) }}{{ fail "gateway.parentRefs is empty: name the Gateway that the route belongs to" }}{{ end -}}
{{- if and (or $values.ingress.enabled $values.gateway.enabled) (not $values.trustedProxies) }}{{ fail "trustedProxies is empty: say from which networks the controller's pods come, such as [10.244.0.0/16], or all who write would be one client" }}{{ end -}}
{{- if $values.networkPolicy.enabled -}}
{{- range $part := list "temporal" "database" "storage" -}}
{{- if not (index $values $part "peers") }}{{ fail (printf "%s.peers is empty: say where it is, such as [{ipBlock: {cidr: 10.0.0.5/32}}], or set networkPolicy.enabled=false" $part) }}{{ end -}}
{{- end -}}
{{- if and $values.telemetry.otlpEndpoint (not $values.telemetry.peers) }}{{ fail "telemetry.peers is empty: say where the collector is, or set networkPolicy.enabled=false" }}{{ end -}}
{{- if and $values.telemetry.monitors.enabled (not $values.telemetry.scrapers) }}{{ fail "telemetry.scrapers is empty: say where Prometheus is, or set networkPolicy.enabled=false" }}{{ end -}}
{{- if and (not $values.triton.enabled) (not $values.triton.peers) }}{{ fail "triton.peers is empty: say where that Triton is, or set networkPolicy.enabled=false" }}{{ end -}}
{{- end -}}
{{- include "portico.checkQueues" . -}}
{{- include "portico.checkVersions" . -}}
{{- end }}

{{- define "portico.checkQueues" -}}
{{- $named := list -}}
{{- range .Values.worker.sets }}{{ $named = concat $named .queues }}{{ end -}}
{{- if not (has "portico" $named) }}{{ fail "worker.sets: no set has the queue portico, so no message would begin" }}{{ end -}}
{{- if eq (include "portico.split" .) "true" -}}
{{- range list "portico-inference" "portico-tools" "portico-delivery" -}}
{{- if not (has . $named) }}{{ fail (printf "worker.sets: no set has the queue %s; name all four queues, or portico alone" .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $set, $given := .Values.worker.sets -}}
{{- if lt (int $given.max) (int $given.replicas) }}{{ fail (printf "worker.sets.%s: max (%v) is below replicas (%v)" $set $given.max $given.replicas) }}{{ end -}}
{{- end -}}
{{- if lt (int .Values.api.autoscaling.max) (int .Values.api.replicas) }}{{ fail (printf "api.autoscaling.max (%v) is below api.replicas (%v)" .Values.api.autoscaling.max .Values.api.replicas) }}{{ end -}}
{{- end }}

{{/* The version that works now is never taken away unsaid: its conversations would wait until they are moved. */}}
{{- define "portico.checkVersions" -}}
{{- $version := include "portico.version" . -}}
{{- $kept := list $version -}}
{{- $slugs := list (include "portico.slug" $version) -}}
{{- range .Values.worker.previous -}}
{{- $slug := include "portico.slug" .version -}}
{{- if has $slug $slugs }}{{ fail (printf "worker.previous: version %s is named twice, or is the one that is installed" .version) }}{{ end -}}
{{- $kept = append $kept .version -}}
{{- $slugs = append $slugs $slug -}}
{{- end -}}
{{- range $set, $_ := .Values.worker.sets -}}
{{- range $kept -}}
{{- $name := include "portico.workerName" (list $ $set .) -}}
{{- if gt (len $name) 63 }}{{ fail (printf "%s is longer than 63 characters: shorten the release's name, the set's or the version" $name) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and .Release.IsUpgrade (not .Values.worker.replaceAtOnce) -}}
{{- range (lookup "apps/v1" "Deployment" .Release.Namespace "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- if and (eq (index $labels "app.kubernetes.io/instance" | default "") $.Release.Name) (eq (index $labels "portico.dev/stage" | default "") "current") -}}
{{- $found := index $labels "portico.dev/build" -}}
{{- if not (has $found $kept) }}{{ fail (printf "workers of version %s still work: keep them with worker.previous=[{version: %s}] until `portico deploy versions` says that they are drained, or set worker.replaceAtOnce=true" $found $found) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
