{{/* Rules of egress, each a list item. */}}
{{- define "portico.toNames" -}}
- to: [{{ toJson .Values.networkPolicy.dns }}]
  ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
{{- end }}

{{/* Of (list PEERS PORT). */}}
{{- define "portico.to" -}}
- to: {{ toJson (index . 0) }}
  ports: [{protocol: TCP, port: {{ index . 1 }}}]
{{- end }}

{{/* Of (list . PART PORT): one of our own parts. */}}
{{- define "portico.toPart" -}}
- to: [{podSelector: {matchLabels: {{ include "portico.selector" (list (index . 0) (index . 1)) | fromYaml | toJson }}}}]
  ports: [{protocol: TCP, port: {{ index . 2 }}}]
{{- end }}

{{/* Of (list . PORT PART…): those parts alone may come in. */}}
{{- define "portico.fromParts" -}}
{{- $root := index . 0 -}}
- from:
  {{- range slice . 2 }}
    - podSelector: {matchLabels: {{ include "portico.selector" (list $root .) | fromYaml | toJson }}}
  {{- end }}
  ports: [{protocol: TCP, port: {{ index . 1 }}}]
{{- end }}

{{- define "portico.temporalPort" -}}{{ .Values.temporal.address | splitList ":" | last }}{{- end }}

{{/* Of the URL: its own port, or its scheme's. */}}
{{- define "portico.portOf" -}}
{{- $url := urlParse . -}}
{{- if contains ":" $url.host }}{{ $url.host | splitList ":" | last }}{{ else }}{{ ternary 443 80 (eq $url.scheme "https") }}{{ end -}}
{{- end }}

{{/* What core means here: the three servers outside of this chart. */}}
{{- define "portico.toServers" -}}
{{ include "portico.to" (list .Values.temporal.peers (include "portico.temporalPort" .)) }}
{{ include "portico.to" (list .Values.database.peers .Values.database.port) }}
{{ include "portico.to" (list .Values.storage.peers (include "portico.portOf" .Values.storage.url)) }}
{{- end }}

{{/* Triton, ours or another's. */}}
{{- define "portico.toTriton" -}}
{{- if .Values.triton.enabled }}{{ include "portico.toPart" (list . "triton" 8001) }}
{{- else }}{{ include "portico.to" (list .Values.triton.peers (.Values.triton.address | splitList ":" | last)) }}{{ end -}}
{{- end }}

{{/* Platforms and cloud routes: any port, no private address. */}}
{{- define "portico.toOutside" -}}
- to:
    - ipBlock: {cidr: 0.0.0.0/0, except: {{ toJson .Values.networkPolicy.outsideExcept }}}
    - ipBlock: {cidr: "::/0", except: {{ toJson .Values.networkPolicy.outsideExceptV6 }}}
{{- end }}

{{/* Models, tools, a proxy and whoever is called back, in networks of one's own. */}}
{{- define "portico.toInner" -}}
{{- range $given := .Values.networkPolicy.inner }}
{{- range $given.ports }}
{{ include "portico.to" (list $given.peers .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Traces. */}}
{{- define "portico.toCollector" -}}
{{- if .Values.telemetry.otlpEndpoint }}
{{ include "portico.to" (list .Values.telemetry.peers (include "portico.portOf" .Values.telemetry.otlpEndpoint)) }}
{{- end }}
{{- end }}

{{/* The policy of (list . PART INGRESS EGRESS), the last two as YAML lists or empty. */}}
{{- define "portico.policy" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "portico.fullname" $root }}-{{ index . 1 }}
  labels: {{- include "portico.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "portico.selector" (list $root (index . 1)) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- with index . 2 }}
  ingress: {{- . | trim | nindent 4 }}
  {{- end }}
  {{- with index . 3 }}
  egress: {{- . | trim | nindent 4 }}
  {{- end }}
{{- end }}
