{{/* An HPA of (list . PART DEPLOYMENT LEAST MOST CPU). */}}
{{- define "portico.byCpu" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ index . 2 }}
  labels: {{- include "portico.labels" (list (index . 0) (index . 1)) | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ index . 2 }}}
  minReplicas: {{ index . 3 }}
  maxReplicas: {{ index . 4 }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ index . 5 }}}}
  behavior:
    scaleDown: {stabilizationWindowSeconds: 300}
{{- end }}
