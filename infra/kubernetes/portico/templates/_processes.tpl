{{/* What edge, workers and jobs have in common: variables, secrets as files, a home of their own. */}}

{{- define "portico.environment" -}}
- {name: PORTICO_HOME, value: /var/lib/portico/home}
- {name: PORTICO_CONFIG, value: /etc/portico/portico.toml}
- {name: PORTICO_MASTER_KEY, value: "file:/run/secrets/portico/master_key"}
- {name: PORTICO_DATABASE__URL, value: "file:/run/secrets/portico/database_url"}
- {name: PORTICO_TEMPORAL__ADDRESS, value: {{ .Values.temporal.address | quote }}}
- {name: PORTICO_TEMPORAL__NAMESPACE, value: {{ .Values.temporal.namespace | quote }}}
- {name: PORTICO_TEMPORAL__RETENTION_DAYS, value: {{ .Values.temporal.retentionDays | quote }}}
- {name: PORTICO_TEMPORAL__DEPLOYMENT, value: {{ .Values.temporal.deployment | quote }}}
- {name: PORTICO_TEMPORAL__SPLIT, value: {{ include "portico.split" . | quote }}}
{{- with .Values.temporal.tls }}
{{- if .enabled }}
- {name: PORTICO_TEMPORAL__TLS, value: "true"}
{{- if .secret }}
- {name: PORTICO_TEMPORAL__TLS_CA, value: /run/secrets/temporal/ca.crt}
{{- end }}
{{- if .clientCertificate }}
- {name: PORTICO_TEMPORAL__TLS_CERTIFICATE, value: /run/secrets/temporal/tls.crt}
- {name: PORTICO_TEMPORAL__TLS_KEY, value: /run/secrets/temporal/tls.key}
{{- end }}
{{- with .name }}
- {name: PORTICO_TEMPORAL__TLS_NAME, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.temporal.apiKeySecret }}
- {name: PORTICO_TEMPORAL__API_KEY, value: "file:/run/secrets/temporal/api_key"}
{{- end }}
{{- if .Values.temporalUi.enabled }}
- {name: PORTICO_TEMPORAL__UI, value: "{{ include "portico.fullname" . }}-temporal-ui:8080"}
{{- end }}
- {name: PORTICO_POLICY__URL, value: "http://{{ include "portico.fullname" . }}-opa:8181"}
- {name: PORTICO_POLICY__TOKEN, value: "file:/run/secrets/portico/opa_token"}
- {name: PORTICO_STORAGE__URL, value: {{ .Values.storage.url | quote }}}
- {name: PORTICO_STORAGE__BUCKET, value: {{ .Values.storage.bucket | quote }}}
- {name: PORTICO_STORAGE__ACCESS_KEY, value: "file:/run/secrets/portico/s3_access_key"}
- {name: PORTICO_STORAGE__SECRET_KEY, value: "file:/run/secrets/portico/s3_secret_key"}
- {name: PORTICO_MODELS__TRITON, value: {{ include "portico.triton" . | quote }}}
- {name: PORTICO_MODELS__TRITON_KEY, value: "file:/run/secrets/portico/triton_admin_key"}
- {name: PORTICO_MODELS__DETECT, value: "false"}
{{- if .Values.sandbox.enabled }}
- {name: PORTICO_SANDBOX__URL, value: "http://{{ include "portico.fullname" . }}-sandbox:8090"}
- {name: PORTICO_SANDBOX__KEY, value: "file:/run/secrets/portico/sandbox_key"}
{{- else }}
- {name: PORTICO_SANDBOX__ENABLED, value: "false"}
{{- end }}
{{- if .Values.own.functions }}
- {name: PORTICO_FUNCTIONS, value: /etc/portico-functions}
{{- end }}
- {name: PORTICO_PUBLIC_URL, value: "https://{{ .Values.site }}"}
- {name: PORTICO_LOCAL_ONLY, value: {{ .Values.localOnly | quote }}}
{{- with .Values.telemetry.otlpEndpoint }}
- {name: PORTICO_TELEMETRY__OTLP_ENDPOINT, value: {{ . | quote }}}
- {name: PORTICO_TELEMETRY__SAMPLE_RATIO, value: {{ $.Values.telemetry.sampleRatio | quote }}}
{{- end }}
- {name: PORTICO_LOG__JSON_LINES, value: "true"}
- {name: PORTICO_LOG__LEVEL, value: {{ .Values.logLevel }}}
{{- end }}

{{- define "portico.triton" -}}
{{- if .Values.triton.enabled }}{{ include "portico.fullname" . }}-triton:8001{{ else }}{{ .Values.triton.address }}{{ end -}}
{{- end }}

{{/* A home that belongs to the process: the volume itself belongs to the kubelet. Ends in what is started. */}}
{{- define "portico.start" -}}
umask 077 && mkdir -p "$PORTICO_HOME" && cd "$PORTICO_HOME" &&
{{- range $name, $target := index . 0 }}
ln -sfn {{ $target }} {{ $name }} &&
{{- end }}
cd /opt/portico && exec {{ index . 1 }}
{{- end }}

{{- define "portico.mounts" -}}
- {name: settings, mountPath: /etc/portico, readOnly: true}
- {name: secrets, mountPath: /run/secrets/portico, readOnly: true}
{{- include "portico.temporalMount" . }}
- {name: home, mountPath: /var/lib/portico}
- {name: tmp, mountPath: /tmp}
{{- if .Values.own.functions }}
- {name: functions, mountPath: /etc/portico-functions, readOnly: true}
{{- end }}
{{- end }}

{{/* Volumes of (list . SETTINGS-CONFIGMAP WITH-OWNER-KEY). */}}
{{- define "portico.volumes" -}}
{{- $root := index . 0 -}}{{- $values := $root.Values -}}
- name: settings
  configMap: {name: {{ index . 1 }}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ $values.existingSecret }}
          items:
          {{- range list "master_key" "keyring.json" "opa_token" "triton_admin_key" "sandbox_key" }}
            - {key: {{ . }}, path: {{ . }}}
          {{- end }}
          {{- if index . 2 }}
            - {key: owner_key, path: owner_key}
            - {key: metrics_token, path: metrics_token}
          {{- end }}
      - secret:
          name: {{ $values.database.existingSecret | default $values.existingSecret }}
          items:
            - {key: {{ $values.database.key }}, path: database_url}
      - secret:
          name: {{ $values.storage.existingSecret | default $values.existingSecret }}
          items:
            - {key: {{ $values.storage.accessKey }}, path: s3_access_key}
            - {key: {{ $values.storage.secretKey }}, path: s3_secret_key}
{{- include "portico.temporalVolume" (list $root true) }}
- name: home
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- with $values.own.functions }}
- name: functions
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}

{{/* What Temporal is reached with, where it asks for something. */}}
{{- define "portico.temporalMount" -}}
{{- if or .Values.temporal.tls.secret .Values.temporal.apiKeySecret }}
- {name: temporal, mountPath: /run/secrets/temporal, readOnly: true}
{{- end }}
{{- end }}

{{/* Of (list . WITH-API-KEY). */}}
{{- define "portico.temporalVolume" -}}
{{- $given := (index . 0).Values.temporal }}
{{- if or $given.tls.secret $given.apiKeySecret }}
- name: temporal
  projected:
    defaultMode: 0440
    sources:
      {{- with $given.tls.secret }}
      - secret:
          name: {{ . }}
          items:
            - {key: ca.crt, path: ca.crt}
            {{- if $given.tls.clientCertificate }}
            - {key: tls.crt, path: tls.crt}
            - {key: tls.key, path: tls.key}
            {{- end }}
      {{- end }}
      {{- if and (index . 1) $given.apiKeySecret }}
      - secret:
          name: {{ $given.apiKeySecret }}
          items:
            - {key: api_key, path: api_key}
      {{- end }}
{{- end }}
{{- end }}

{{/* One secret as a file, of (list . KEY). */}}
{{- define "portico.oneSecret" -}}
- name: secrets
  secret:
    secretName: {{ (index . 0).Values.existingSecret }}
    defaultMode: 0440
    items:
      - {key: {{ index . 1 }}, path: {{ index . 1 }}}
{{- end }}
