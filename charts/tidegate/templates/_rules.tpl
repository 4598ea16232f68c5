{{/*
What the operator may do with models and what it makes of them. Once for the ClusterRole and once for the Roles, so that
they cannot differ. A test proves from the API server's audit log that each verb is used and none is missing.

Not here, on purpose: writing a ModelDeployment (only its /status); deleting what the garbage collector always removes with
its owner, as NetworkPolicies, and any ServiceAccount but the routers' (what can be deleted goes before its owner, or has
none, as a ModelRevision); Secrets but the one of the routers, and ConfigMaps; pods, but by an eviction; and
modeldeployments/finalizers, which the admission plugin OwnerReferencesPermissionEnforcement asks for where
blockOwnerDeletion is true; ours is false.

The routers' objects have one name in every namespace, so the rights for them are rights to that name. Those to create hold
too, because an apply names its object in the path; a list and a watch have no name to be held to. `bind` is asked for in the
namespace of the RoleBinding, and a namespace is read within itself, so that both work in a Role.
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
    - delete
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
    - delete
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs:
    - get
    - list
    - watch
    - create
    - patch
- apiGroups: [""]
  resources: [serviceaccounts]
  resourceNames: [tidegate-router]
  verbs:
    - delete
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [tidegate-router]
  verbs:
    - get
    - create
    - patch
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs:
    - list
    - watch
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  resourceNames: [tidegate-router]
  verbs:
    - get
    - create
    - patch
    - delete
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [tidegate-router]
  verbs:
    - bind
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
  resources: [pods/eviction]
  verbs:
    - create
- apiGroups: [""]
  resources: [namespaces]
  verbs:
    - get
- apiGroups: [""]
  resources: [events]
  verbs:
    - create
    - patch
{{- end -}}
