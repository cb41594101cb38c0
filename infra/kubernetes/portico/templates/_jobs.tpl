{{/* Of (list EVENTS WEIGHT GONE-WHEN-DONE). */}}
{{- define "portico.hook" -}}
helm.sh/hook: {{ index . 0 }}
helm.sh/hook-weight: {{ index . 1 | quote }}
helm.sh/hook-delete-policy: before-hook-creation{{ if index . 2 }},hook-succeeded{{ end }}
{{- end }}

{{/* A job of (list . NAME COMMAND EVENTS WEIGHT), with what `prepare` may reach. */}}
{{- define "portico.job" -}}
{{- $root := index . 0 -}}{{- $values := $root.Values -}}
{{- $account := printf "%s-prepare" (include "portico.fullname" $root) -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "portico.fullname" $root }}-{{ index . 1 }}
  labels: {{- include "portico.labels" (list $root "prepare") | nindent 4 }}
  annotations: {{- include "portico.hook" (list (index . 3) (index . 4) true) | nindent 4 }}
spec:
  backoffLimit: 3
  activeDeadlineSeconds: {{ $values.prepare.deadlineSeconds }}
  template:
    metadata:
      labels: {{- include "portico.labels" (list $root "prepare") | nindent 8 }}
    spec:
      {{- include "portico.pod" (list $root "prepare" dict) | nindent 6 }}
      restartPolicy: Never
      securityContext: {{- include "portico.podSecurity" (list 10001 "") | nindent 8 }}
      containers:
        - name: {{ index . 1 }}
          image: {{ include "portico.image" (list $root $root.Values.images.worker (include "portico.version" $root)) }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          args:
            - sh
            - -c
            {{- $links := dict "keyring.json" "/run/secrets/portico/keyring.json" }}
            - {{ include "portico.start" (list $links (printf "sh -c '%s'" (index . 2))) | quote }}
          env:
            {{- include "portico.environment" $root | nindent 12 }}
            - {name: PORTICO_TEMPORAL__BUILD_ID, value: {{ include "portico.version" $root | quote }}}
          resources: {{- toYaml $values.prepare.resources | nindent 12 }}
          securityContext: {{- include "portico.containerSecurity" $root | nindent 12 }}
          volumeMounts: {{- include "portico.mounts" $root | nindent 12 }}
      volumes: {{- include "portico.volumes" (list $root $account false) | nindent 8 }}
{{- end }}
