{{/* The name of everything: the release's, with the chart's in it once. */}}
{{- define "tidegate.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "tidegate.operator" -}}
{{ include "tidegate.fullname" . }}-operator
{{- end -}}

{{/* Labels that never change: a Deployment's selector cannot. */}}
{{- define "tidegate.selector" -}}
app.kubernetes.io/name: tidegate-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tidegate
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "tidegate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "tidegate.operator" .) }}
{{- else -}}
{{ required "serviceAccount.name is needed when serviceAccount.create is false: the account that the operator runs as." .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* The reference of one image: (dict "root" $ "name" "server"). */}}
{{- define "tidegate.image" -}}
{{- $image := .root.Values.image -}}
{{- if get $image .name -}}
{{ get $image .name }}
{{- else if $image.registry -}}
{{ $image.registry }}/tidegate-{{ .name }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- else -}}
{{ fail "\n\nimage.registry is not set, and has no default: it says where the images of Tidegate are.\n  1. make images CLUSTER=current REGISTRY=registry.example.com/tidegate     builds and pushes them, and prints their tag\n  2. helm upgrade --install tidegate charts/tidegate --set image.registry=registry.example.com/tidegate --set image.tag=<that tag>\n" }}
{{- end -}}
{{- end -}}
