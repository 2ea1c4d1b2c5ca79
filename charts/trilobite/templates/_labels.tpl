{{- /* Labels of everything in this chart; call with (dict "root" $ "name" "trilobite-operator"). */ -}}
{{- define "trilobite.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/part-of: trilobite
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}
