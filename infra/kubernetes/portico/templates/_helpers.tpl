{{- define "portico.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 30 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 30 | trimSuffix "-" }}{{- end -}}
{{- end }}

{{- define "portico.version" -}}{{ .Values.version | default .Chart.AppVersion }}{{- end }}

{{/* What picks a part's pods. Of (list . PART). */}}
{{- define "portico.selector" -}}
app.kubernetes.io/name: portico
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Of (list . PART). */}}
{{- define "portico.labels" -}}
{{ include "portico.selector" . }}
app.kubernetes.io/version: {{ include "portico.version" (index . 0) | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end }}

{{/* Of (list . {repository, tag, digest} VERSION): one of our images, at a version's tag. */}}
{{- define "portico.image" -}}
{{- $given := index . 1 -}}
{{- $registry := (index . 0).Values.image.registry -}}
{{- $version := index . 2 -}}
{{- $reference := $given.repository -}}
{{- with $registry }}{{ $reference = printf "%s/%s" (trimSuffix "/" .) $reference }}{{ end -}}
{{- if $given.digest }}{{ printf "%s@%s" $reference $given.digest }}
{{- else }}{{ printf "%s:%s" $reference ($given.tag | default $version) }}{{ end -}}
{{- end }}

{{/* Of a {repository, tag, digest}: an image of another maker. */}}
{{- define "portico.foreignImage" -}}
{{- if .digest }}{{ printf "%s@%s" .repository .digest }}{{ else }}{{ printf "%s:%s" .repository .tag }}{{ end -}}
{{- end }}

{{- define "portico.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Pod security of (list USER SECCOMP): the restricted profile; SECCOMP is a file of the node, or empty. */}}
{{- define "portico.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ index . 0 }}
runAsGroup: {{ index . 0 }}
fsGroup: {{ index . 0 }}
fsGroupChangePolicy: OnRootMismatch
{{- if index . 1 }}
seccompProfile: {type: Localhost, localhostProfile: {{ index . 1 | quote }}}
{{- else }}
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- end }}

{{/* What every pod has: of (list . PART VALUES). A part's pods are kept apart, within what runs of one template. */}}
{{- define "portico.pod" -}}
{{- $root := index . 0 -}}{{- $part := index . 1 -}}{{- $values := index . 2 -}}
serviceAccountName: {{ include "portico.fullname" $root }}-{{ $part }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of (list . MATCHLABELS-AS-YAML). */}}
{{- define "portico.spread" -}}
topologySpreadConstraints:
{{- $root := index . 0 -}}{{- $labels := index . 1 }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ $root.Values.spread.node }}
    nodeTaintsPolicy: Honor  # a node that takes none of them, cordoned or a control plane's, is none to be filled
    labelSelector:
      matchLabels: {{- $labels | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ $root.Values.spread.zone }}
    nodeTaintsPolicy: Honor
    labelSelector:
      matchLabels: {{- $labels | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}

{{/* Whether each kind of step has a queue of its own: "true" or "false". */}}
{{- define "portico.split" -}}
{{- $named := list -}}
{{- range .Values.worker.sets }}{{ $named = concat $named .queues }}{{ end -}}
{{- ne (len (without $named "portico")) 0 -}}
{{- end }}

{{/* A name's part that a version may stand in. */}}
{{- define "portico.slug" -}}{{ . | lower | replace "." "-" | replace "_" "-" | replace "+" "-" }}{{- end }}

{{/* Names that hold what a pod's start depends on, so that a change of them is a new pod. */}}
{{- define "portico.checksum" -}}
portico.dev/settings: {{ .Values.settings | sha256sum | trunc 16 }}
{{- end }}
