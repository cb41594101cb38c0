{{- define "portico.workerName" -}}
{{ include "portico.fullname" (index . 0) }}-worker-{{ index . 1 }}-{{ include "portico.slug" (index . 2) }}
{{- end }}

{{/* Of (list . SET VERSION). */}}
{{- define "portico.workerSelector" -}}
{{ include "portico.selector" (list (index . 0) "worker") }}
portico.dev/queues: {{ index . 1 }}
portico.dev/build: {{ index . 2 | quote }}
{{- end }}

{{/* Of (list . RUN NAME): an image of this version, or of one before: what works on is not started anew. */}}
{{- define "portico.imageOf" -}}
{{- $root := index . 0 -}}{{- $run := index . 1 -}}
{{- $given := index $root.Values.images (index . 2) -}}
{{- if eq $run.stage "previous" -}}
{{- $own := index $run (index . 2) | default dict -}}
{{- $given = dict "repository" $given.repository "tag" ($own.tag | default "") "digest" ($own.digest | default "") -}}
{{- end -}}
{{- include "portico.image" (list $root $given $run.version) -}}
{{- end }}

{{/* The Deployment of (list . SET VALUES RUN). */}}
{{- define "portico.worker" -}}
{{- $root := index . 0 -}}{{- $set := index . 1 -}}{{- $given := index . 2 -}}{{- $run := index . 3 -}}
{{- $values := $root.Values -}}
{{- $stage := $run.stage | default "previous" -}}
{{- $run = merge (dict "stage" $stage) $run -}}
{{- $selector := include "portico.workerSelector" (list $root $set $run.version) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "portico.workerName" (list $root $set $run.version) }}
  labels:
    {{- include "portico.labels" (list $root "worker") | nindent 4 }}
    portico.dev/queues: {{ $set }}
    portico.dev/build: {{ $run.version | quote }}
    portico.dev/stage: {{ $stage }}
spec:
  {{- if eq $stage "previous" }}
  replicas: {{ $run.replicas | default $given.replicas }}
  {{- else if not $values.worker.autoscaling.enabled }}
  replicas: {{ $given.replicas }}
  {{- end }}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector:
    matchLabels: {{- $selector | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "portico.selector" (list $root "worker") | nindent 8 }}
        app.kubernetes.io/version: {{ $run.version | quote }}
        portico.dev/queues: {{ $set }}
        portico.dev/build: {{ $run.version | quote }}
      annotations: {{- include "portico.checksum" $root | nindent 8 }}
    spec:
      {{- include "portico.pod" (list $root "worker" $values.worker) | nindent 6 }}
      {{- include "portico.spread" (list $root $selector) | nindent 6 }}
      terminationGracePeriodSeconds: {{ $values.worker.graceSeconds }}
      securityContext: {{- include "portico.podSecurity" (list 10001 (ternary $values.worker.toolsSeccompProfile "" ($given.tools | default false))) | nindent 8 }}
      {{- if $values.triton.enabled }}
      initContainers:
        # What Triton serves says which intents there are: made from the same image, so the same.
        - name: models
          image: {{ include "portico.imageOf" (list $root $run "triton") }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          command: [python3, /opt/portico/start.py, /models]
          resources: {requests: {cpu: 250m, memory: 256Mi}, limits: {memory: 1Gi}}
          securityContext: {{- include "portico.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            - {name: models, mountPath: /models}
            - {name: tmp, mountPath: /tmp}
            {{- if $values.own.intents }}
            - {name: intents, mountPath: /models/intents, readOnly: true}
            {{- end }}
      {{- end }}
      containers:
        - name: worker
          image: {{ include "portico.imageOf" (list $root $run (ternary "workerTools" "worker" ($given.tools | default false))) }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          args:
            - sh
            - -c
            {{- $links := dict "keyring.json" "/run/secrets/portico/keyring.json" }}
            {{- if $values.triton.enabled }}{{ $_ := set $links "models" "/models/models" }}{{ end }}
            - {{ include "portico.start" (list $links "portico serve worker") | quote }}
          env:
            {{- include "portico.environment" $root | nindent 12 }}
            - {name: PORTICO_TEMPORAL__BUILD_ID, value: {{ $run.version | quote }}}
            - {name: PORTICO_TELEMETRY__METRICS_ADDRESS, value: "0.0.0.0:9464"}
            - {name: PORTICO_TEMPORAL__QUEUES, value: {{ $given.queues | toJson | quote }}}
          ports:
            - {name: metrics, containerPort: 9464}
          {{- with list "python" "-m" "entrypoints.serve.probe" "worker" }}
          startupProbe:
            exec: {command: {{ toJson . }}}
            periodSeconds: 3
            timeoutSeconds: 5
            failureThreshold: 100
          readinessProbe:
            exec: {command: {{ toJson . }}}
            periodSeconds: 10
            timeoutSeconds: 5
          livenessProbe:
            exec: {command: {{ toJson . }}}
            periodSeconds: 20
            timeoutSeconds: 10
            failureThreshold: 3
          {{- end }}
          resources: {{- toYaml $given.resources | nindent 12 }}
          securityContext: {{- include "portico.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            {{- include "portico.mounts" $root | nindent 12 }}
            {{- if $values.triton.enabled }}
            - {name: models, mountPath: /models, readOnly: true}
            {{- end }}
            {{- if $given.tools }}
            - {name: shm, mountPath: /dev/shm}
            {{- end }}
      volumes:
        {{- include "portico.volumes" (list $root (include "portico.fullname" $root) false) | nindent 8 }}
        {{- if $given.tools }}
        - name: shm
          emptyDir: {medium: Memory, sizeLimit: 1Gi}
        {{- end }}
        {{- if $values.triton.enabled }}
        - name: models
          emptyDir: {sizeLimit: 1Gi}
        {{- with $values.own.intents }}
        - name: intents
          configMap: {name: {{ . }}}
        {{- end }}
        {{- end }}
{{- end }}
