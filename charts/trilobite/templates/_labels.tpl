{{- /* Labels of everything in this chart; call with (dict "root" $ "name" "trilobite-operator"). */ -}}
{{- define "trilobite.labels" -}}
{{ include "trilobite.podLabels" . }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* The same for pods, without the chart's version: a release that changes nothing in a pod does not restart it. */ -}}
{{- define "trilobite.podLabels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- if ne .name "trilobite" }}
app.kubernetes.io/component: {{ trimPrefix "trilobite-" .name }}
{{- end }}
app.kubernetes.io/part-of: trilobite
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}
