//! Cgroups, pods, namespaces and scopes become known in any order.

use jiff::Timestamp;

use super::*;
use crate::identity::{Answer, Container};

const UID: &str = "7f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn pod() -> Arc<Pod> {
    Arc::new(Pod {
        uid: UID.into(),
        cgroup_uid: UID.into(),
        namespace: "shop".into(),
        name: "cart-1".into(),
        containers: vec![Container { name: "app".into(), id: format!("containerd://{ID}"), ..Container::default() }],
        ..Pod::default()
    })
}

/// What a scope answers about a cgroup; none if the cgroup has no class.
fn answer(index: &mut Index, cgroup: u64, scope: u32) -> Option<Answer> {
    let groups = index.desired_groups();
    let group = groups.iter().find(|group| group.cgroups.contains(&cgroup))?;
    Some(group.answers.answer(scope))
}

type Step = Box<dyn Fn(&mut Index)>;

/// Everything that makes a container known, in any order.
fn steps() -> Vec<Step> {
    let made = |id: u64, parent: u64, name: String| {
        let change = CgroupChange { id, parent, name, removed: false, time: 0 };
        Box::new(move |index: &mut Index| {
            if !index.apply_cgroup_change(&change) {
                index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}")), (4, 3, ID.into())]);
            }
        }) as Step
    };
    vec![
        made(2, 1, "kubepods".into()),
        made(3, 2, format!("pod{UID}")),
        made(4, 3, ID.into()),
        Box::new(|index: &mut Index| index.set_pods(vec![pod()])),
        Box::new(|index: &mut Index| assert_eq!(index.acquire_scope(&PodScope::default()), Ok(0))),
    ]
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    permutations(count - 1)
        .into_iter()
        .flat_map(|shorter| {
            (0..count).map(move |at| {
                let mut longer = shorter.clone();
                longer.insert(at, count - 1);
                longer
            })
        })
        .collect()
}

#[test]
fn order_in_which_a_container_becomes_known_does_not_matter() {
    let steps = steps();
    for order in permutations(steps.len()) {
        let mut index = Index::new(1, true);
        for step in &order {
            steps[*step](&mut index);
        }
        let owner = index.owner(4);
        let Owner::Pod(owner) = owner else { panic!("{order:?}: {owner:?}") };
        assert_eq!(owner.container.as_ref().map(|container| container.name.as_str()), Some("app"), "{order:?}");
        assert_eq!(answer(&mut index, 4, 0), Some(Answer::Selected), "{order:?}");
        assert_eq!(index.pod_path(UID), Some(format!("/kubepods/pod{UID}")));
    }
}

#[test]
fn cgroup_of_a_pod_is_unknown_until_its_pod_is_known() {
    let mut index = Index::new(1, true);
    index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}")), (9, 1, "system.slice".into())]);
    let owner = index.owner(3);
    assert!(matches!(owner, Owner::Unnamed(_)), "{owner:?}");
    assert_eq!(index.owner(9), Owner::Host);
    assert_eq!(index.owner(77), Owner::Unknown);
    let owner = index.owner(3);
    assert_eq!(index.in_scope(&in_namespace("shop"), &owner), None);
    let owner = index.owner(77);
    assert_eq!(index.in_scope(&PodScope::default(), &owner), None);
}

#[test]
fn unnamed_pod_is_selected_with_every_pod_as_in_the_kernel() {
    let mut index = Index::new(1, true);
    let with_host = PodScope { include_host: true, ..PodScope::default() };
    let host_alone = PodScope { include_host: true, without_pods: true, ..PodScope::default() };
    for (id, scope, selected) in [(0, PodScope::default(), true), (1, with_host, true), (2, host_alone, false)] {
        assert_eq!(index.acquire_scope(&scope), Ok(id));
        index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}"))]);
        let owner = index.owner(3);
        assert_eq!(index.in_scope(&scope, &owner), Some(selected));
        assert_eq!([2, 3].map(|cgroup| answer(&mut index, cgroup, id)), [Some(Answer::from(Some(selected))); 2]);
    }
    index.acquire_scope(&in_namespace("shop")).unwrap();
    assert_eq!(answer(&mut index, 3, 3), Some(Answer::Unknown));
}

fn in_namespace(name: &str) -> PodScope {
    PodScope { namespace: Some(name.into()), ..PodScope::default() }
}

#[test]
fn without_a_cluster_the_container_id_is_known_and_no_pod_name() {
    let mut index = Index::new(1, false);
    index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}")), (4, 3, ID.into())]);
    let owner = index.owner(4);
    let Owner::Pod(owner) = owner else { panic!("{owner:?}") };
    assert_eq!((owner.pod.name.as_str(), owner.container_id.as_str()), ("", ID));
    let owner = index.owner(4);
    assert_eq!(index.in_scope(&PodScope::default(), &owner), Some(true));
    assert_eq!(index.owner(77), Owner::Host);
}

/// A pod that claims the cgroups of `UID`.
fn claiming_pod(uid: &str, created: i64) -> Arc<Pod> {
    let created = Some(Timestamp::from_second(created).unwrap());
    Arc::new(Pod { uid: uid.into(), name: uid.into(), created, ..Pod::clone(&pod()) })
}

#[test]
fn older_pod_keeps_contested_cgroup() {
    let (old, new) = (claiming_pod("z-old", 10), claiming_pod("a-new", 20));
    for both in [[&old, &new], [&new, &old]] {
        let mut index = Index::new(1, true);
        index.set_pods(both.map(Arc::clone).to_vec());
        assert_eq!(index.pods(), std::slice::from_ref(&old));
    }
    let mut index = Index::new(1, true);
    index.set_pods(vec![new.clone()]);
    // Creation times have a resolution of a second and clocks may be wrong: the pod that was here first stays.
    index.set_pods(vec![old.clone(), new.clone()]);
    assert_eq!(index.pods(), [new]);
    index.set_pods(vec![old.clone()]);
    assert_eq!(index.pods(), [old]);
}

#[test]
fn all_cgroups_of_a_pod_have_its_selection() {
    let other = "8f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11";
    let mut index = Index::new(1, true);
    index.acquire_scope(&in_namespace("shop")).unwrap();
    index.set_pods(vec![
        pod(),
        Arc::new(Pod { uid: other.into(), cgroup_uid: other.into(), namespace: "till".into(), ..Pod::default() }),
    ]);
    index.set_cgroups(&[
        (2, 1, "kubepods".into()),
        (3, 2, format!("pod{UID}")),
        (4, 3, ID.into()),
        (5, 2, format!("pod{other}")),
        (6, 5, ID.into()),
    ]);
    let (selected, not_selected) = (Some(Answer::Selected), Some(Answer::NotSelected));
    let expected = [selected, selected, not_selected, not_selected];
    assert_eq!([3, 4, 5, 6].map(|cgroup| answer(&mut index, cgroup, 0)), expected);
}

#[test]
fn deleted_pod_keeps_its_selection_while_it_has_cgroups() {
    let mut index = Index::new(1, true);
    index.acquire_scope(&in_namespace("shop")).unwrap();
    index.set_pods(vec![pod()]);
    index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}"))]);
    index.set_pods(Vec::new());
    assert_eq!(answer(&mut index, 3, 0), Some(Answer::Selected));
}

#[test]
fn containers_of_a_pod_differ_where_a_scope_names_one() {
    let sidecar = ID.replace('0', "f");
    let mut index = Index::new(1, true);
    index.set_pods(vec![pod()]);
    index.set_cgroups(&[
        (2, 1, "kubepods".into()),
        (3, 2, format!("pod{UID}")),
        (4, 3, ID.into()),
        (5, 3, sidecar.clone()),
    ]);
    let scope = serde_json::json!({"containerSelector": {"matchLabels": {"name": "app"}}});
    let scope: PodScope = serde_json::from_value(scope).unwrap();
    index.acquire_scope(&in_namespace("shop")).unwrap();
    index.acquire_scope(&scope).unwrap();
    let answers = |index: &mut Index, id| [3, 4, 5].map(|cgroup| answer(index, cgroup, id));
    assert_eq!(answers(&mut index, 0), [Some(Answer::Selected); 3]);
    // A container that is not named yet is unknown.
    assert_eq!(answers(&mut index, 1), [Answer::Unknown, Answer::Selected, Answer::Unknown].map(Some));
    assert_eq!(index.unnamed_containers(), std::slice::from_ref(&sidecar));
    index.set_bundle(sidecar.clone(), Some(BundleName::Container("app".into())));
    assert_eq!(answers(&mut index, 1), [Answer::Unknown, Answer::Selected, Answer::Selected].map(Some));
    let owner = index.owner(5);
    assert_eq!(index.in_scope(&scope, &owner), Some(true), "events are decided as in the kernel");
    index.set_bundle(sidecar.clone(), Some(BundleName::Sandbox));
    assert_eq!(answers(&mut index, 1), [Answer::Unknown, Answer::Selected, Answer::NotSelected].map(Some));
    index.set_bundle(sidecar.clone(), None);
    assert_eq!(index.unnamed_containers(), Vec::<String>::new(), "it is read once");
    let mut named = Pod::clone(&pod());
    let id = format!("containerd://{sidecar}");
    named.containers.push(Container { name: "sidecar".into(), id, ..Container::default() });
    index.set_pods(vec![Arc::new(named)]);
    assert_eq!(answers(&mut index, 1), [Answer::Unknown, Answer::Selected, Answer::NotSelected].map(Some));
    index.release_scope(1);
    assert_eq!(answers(&mut index, 0), [Some(Answer::Selected); 3]);
}

#[test]
fn relabelled_pod_gets_new_answers_and_so_do_its_namespaces() {
    let mut index = Index::new(1, true);
    let scope = |value| serde_json::from_value::<PodScope>(value).unwrap();
    index.acquire_scope(&scope(serde_json::json!({"podSelector": {"matchLabels": {"tier": "till"}}}))).unwrap();
    index.acquire_scope(&scope(serde_json::json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}))).unwrap();
    index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}"))]);
    index.set_pods(vec![pod()]);
    let both = |index: &mut Index| [0, 1].map(|id| answer(index, 3, id));
    assert_eq!(both(&mut index), [Answer::NotSelected, Answer::Unknown].map(Some));
    let labels = [("tier".to_owned(), "till".to_owned())].into();
    index.set_pods(vec![Arc::new(Pod { labels, ..Pod::clone(&pod()) })]);
    index.set_namespaces([("shop".to_owned(), [("team".to_owned(), "x".to_owned())].into())].into());
    assert_eq!(both(&mut index), [Answer::Selected, Answer::Selected].map(Some));
}

#[test]
fn cgroup_missing_in_a_scan_leaves_the_map() {
    let mut index = Index::new(1, true);
    index.acquire_scope(&PodScope::default()).unwrap();
    index.set_pods(vec![pod()]);
    index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}"))]);
    assert!(answer(&mut index, 3, 0).is_some());
    index.set_cgroups(&[(2, 1, "kubepods".into())]);
    assert_eq!(answer(&mut index, 3, 0), None);
}

#[test]
fn service_of_the_node_has_the_class_of_the_host() {
    let mut index = Index::new(1, true);
    index.set_cgroups(&[(2, 1, "system.slice".into()), (3, 2, "kubelet.service".into()), (4, 1, "kubepods".into())]);
    let host = PodScope { include_host: true, without_pods: true, ..PodScope::default() };
    assert_eq!(index.acquire_scope(&host), Ok(0));
    let answers = [2, 3, 4].map(|cgroup| answer(&mut index, cgroup, 0));
    assert_eq!(answers, [Some(Answer::Selected), Some(Answer::Selected), Some(Answer::NotSelected)]);
}
