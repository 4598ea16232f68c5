{{/*
What the operator may do with models and what it makes of them. Once for the ClusterRole and once for the Roles, so that
they cannot differ. A test proves from the API server's audit log that each verb is used and none is missing.

Not here, on purpose: writing a ModelDeployment (only its /status), deleting what the garbage collector removes with its
owner (a PodDisruptionBudget and a Job go before theirs, and a ModelRevision has none), reading Secrets or ConfigMaps, and
modeldeployments/finalizers, which the admission plugin OwnerReferencesPermissionEnforcement asks for where
blockOwnerDeletion is true; ours is false.
*/}}
{{- define "tidegate.rules" -}}
- apiGroups: [models.tidegate.dev]
  resources: [modeldeployments]
  verbs:
    - get
    - list
    - watch
- apiGroups: [models.tidegate.dev]
  resources: [modeldeployments/status]
  verbs:
    - patch
- apiGroups: [models.tidegate.dev]
  resources: [modelrevisions]
  verbs:
    - get
    - list
    - watch
    - create
    - patch
    - delete
- apiGroups: [apps]
  resources: [deployments]
  verbs:
    - get
    - list
    - watch
    - create
    - patch
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs:
    - patch
- apiGroups: [batch]
  resources: [jobs]
  verbs:
    - get
    - list
    - watch
    - create
    - patch
    - delete
- apiGroups: [""]
  resources: [services]
  verbs:
    - get
    - list
    - watch
    - create
    - patch
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs:
    - get
    - list
    - watch
    - create
    - patch
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs:
    - get
    - list
    - watch
    - create
    - patch
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs:
    - get
    - list
    - watch
    - create
    - patch
    - delete
- apiGroups: [""]
  resources: [pods]
  verbs:
    - list
    - watch
- apiGroups: [""]
  resources: [events]
  verbs:
    - create
    - patch
{{- end -}}
