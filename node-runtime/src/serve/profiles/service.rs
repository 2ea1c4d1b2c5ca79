//! The service. Results are sent from their files in chunks, so that a client costs the memory of one chunk.

use std::{fs::File, io::Read, pin::Pin, time::Duration};

use futures::{Stream, stream};
use jiff::Timestamp;
use tonic::{Request, Response, Status};
use trilobite_api::{
    profiles::{
        self as api, GetProfileRequest, GetProfileResponse, ListProfilesRequest, ListProfilesResponse, Profile,
        ProfilePart, ProfileState, WatchProfileRequest,
        get_profile_response::Content,
        profiles_server::{Profiles as Api, ProfilesServer},
    },
    read_scope::ReadScope,
};

use super::convert::profile;
use crate::{
    layers::application::cpu::profiles::{ProfileProgress, Profiles},
    serve::{
        read_rows::{ReadResource, ReadRows},
        scope::read_scope,
    },
};

/// Bytes of a result in one message.
const CHUNK: usize = 64 << 10;
/// Interval of progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub fn service(profiles: Profiles, rows: ReadRows) -> ProfilesServer<impl Api> {
    ProfilesServer::new(ProfilesService { profiles, rows })
}

struct ProfilesService {
    profiles: Profiles,
    rows: ReadRows,
}

impl ProfilesService {
    /// Fails for a profile of another namespace in the words for one that does not exist.
    fn check_scope(&self, name: &str, scope: &ReadScope) -> Result<(), Status> {
        if scope.allows(namespace_of(name)) {
            return Ok(());
        }
        self.rows.count_withheld(ReadResource::Profiles);
        Err(unknown(name))
    }
}

/// Of `namespace/name`; empty without one.
fn namespace_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

/// Sends the metadata, then the chunks of each file.
struct ResultStream {
    profile: Option<Profile>,
    files: std::vec::IntoIter<(ProfilePart, File)>,
    now: Option<(ProfilePart, File)>,
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ResultStream {
    fn next(&mut self) -> Option<Result<GetProfileResponse, Status>> {
        if let Some(profile) = self.profile.take() {
            return Some(Ok(GetProfileResponse { content: Some(Content::Profile(profile)) }));
        }
        loop {
            let Some((part, file)) = &mut self.now else {
                self.now = Some(self.files.next()?);
                continue;
            };
            let mut bytes = Vec::with_capacity(CHUNK);
            match file.take(CHUNK as u64).read_to_end(&mut bytes) {
                Ok(0) => self.now = None,
                Ok(_) => {
                    let content = if *part == ProfilePart::Svg { Content::Svg(bytes) } else { Content::Folded(bytes) };
                    return Some(Ok(GetProfileResponse { content: Some(content) }));
                }
                Err(error) => {
                    (self.now, self.files) = (None, Vec::new().into_iter());
                    return Some(Err(Status::internal(format!("reading the result: {error}"))));
                }
            }
        }
    }
}

fn unknown(name: &str) -> Status {
    Status::not_found(format!("this node has no profile {name}; results are kept for an hour"))
}

#[tonic::async_trait]
impl Api for ProfilesService {
    type WatchStream = ResponseStream<Profile>;
    type GetStream = ResponseStream<GetProfileResponse>;

    async fn list(&self, request: Request<ListProfilesRequest>) -> Result<Response<ListProfilesResponse>, Status> {
        let scope = read_scope(&request)?;
        let mut profiles = Vec::new();
        for (name, progress) in self.profiles.all(Timestamp::now()) {
            if self.check_scope(&name, &scope).is_ok() {
                self.rows.count_sent(ReadResource::Profiles);
                profiles.push(profile(progress));
            }
        }
        Ok(Response::new(ListProfilesResponse { profiles }))
    }

    async fn watch(&self, request: Request<WatchProfileRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let scope = read_scope(&request)?;
        let WatchProfileRequest { name } = request.into_inner();
        self.check_scope(&name, &scope)?;
        let first = self.profiles.one(&name, Timestamp::now()).ok_or_else(|| unknown(&name))?;
        let state = (self.profiles.clone(), name, Some(first), false);
        let responses = stream::unfold(state, async |(profiles, name, first, over)| {
            if over {
                return None;
            }
            let standing = match first {
                Some(first) => first,
                None => {
                    tokio::time::sleep(PROGRESS_INTERVAL).await;
                    match profiles.one(&name, Timestamp::now()) {
                        Some(standing) => standing,
                        None => return Some((Err(unknown(&name)), (profiles, name, None, true))),
                    }
                }
            };
            let message = profile(standing);
            let over = message.state() != ProfileState::Running;
            Some((Ok(message), (profiles, name, None, over)))
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn get(&self, request: Request<GetProfileRequest>) -> Result<Response<Self::GetStream>, Status> {
        let scope = read_scope(&request)?;
        let GetProfileRequest { name, parts, wait } = request.into_inner();
        self.check_scope(&name, &scope)?;
        loop {
            match self.profiles.one(&name, Timestamp::now()) {
                None => return Err(unknown(&name)),
                // The caller's deadline ends the wait: then this future is dropped.
                Some(ProfileProgress::Running(_)) if wait => tokio::time::sleep(PROGRESS_INTERVAL).await,
                Some(ProfileProgress::Running(_)) => {
                    return Err(Status::failed_precondition(format!(
                        "profile {name} is still running; watch it first"
                    )));
                }
                Some(ProfileProgress::Finished(_)) => break,
            }
        }
        let now = Timestamp::now();
        let kept = self.profiles.files(&name, now).map_err(|error| Status::internal(error.to_string()))?;
        let (meta, folded, svg) = kept.ok_or_else(|| unknown(&name))?;
        let wanted = if parts.is_empty() { vec![ProfilePart::Folded.into(), ProfilePart::Svg.into()] } else { parts };
        let (mut folded, mut svg) = (Some(folded), Some(svg));
        self.rows.count_sent(ReadResource::Profiles);
        let mut files = Vec::new();
        for part in wanted {
            let file = match ProfilePart::try_from(part) {
                Ok(part @ api::ProfilePart::Folded) => folded.take().map(|file| (part, file)),
                Ok(part @ api::ProfilePart::Svg) => svg.take().map(|file| (part, file)),
                _ => return Err(Status::invalid_argument(format!("parts: there is no part {part}"))),
            };
            files.extend(file);
        }
        let results = ResultStream {
            profile: Some(profile(ProfileProgress::Finished(meta))),
            files: files.into_iter(),
            now: None,
        };
        let responses = stream::unfold(results, async |mut results| Some((results.next()?, results)));
        Ok(Response::new(Box::pin(responses)))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;
    use crate::{
        layers::application::{ProfileMeta, Results, cpu::SessionStatus},
        loss::Ledger,
        serve::scope::tests::scoped,
    };

    /// A node with one result: 100,000 bytes of folded stacks and a small SVG.
    fn one_result(folder: &str) -> (std::path::PathBuf, ProfilesService) {
        let folder = std::env::temp_dir().join(format!("{folder}-{}", std::process::id()));
        let results = Results::open(&folder, Ledger::default());
        let mut writer = results.begin("shop/cart").unwrap();
        writer.write_folded(&vec![b'x'; 100_000]).unwrap();
        writer.complete_folded().unwrap();
        writer.write_svg(b"<svg/>").unwrap();
        let now = Timestamp::now();
        results
            .store(writer, ProfileMeta { name: "shop/cart".into(), ended: now, ..ProfileMeta::default() }, now)
            .unwrap();
        (folder, ProfilesService { profiles: Profiles::new(results), rows: ReadRows::default() })
    }

    async fn get(service: &ProfilesService, name: &str, parts: Vec<i32>) -> Result<Vec<GetProfileResponse>, Status> {
        let request = scoped(GetProfileRequest { name: name.into(), parts, wait: false }, "shop");
        service.get(request).await?.into_inner().try_collect().await
    }

    #[tokio::test]
    async fn result_comes_in_chunks_after_its_metadata() {
        let (folder, service) = one_result("serve-chunks");
        let answers = get(&service, "shop/cart", Vec::new()).await.unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        let sizes: Vec<(char, usize)> = answers
            .into_iter()
            .map(|answer| match answer.content.unwrap() {
                Content::Profile(profile) => ('p', profile.folded_bytes as usize),
                Content::Folded(bytes) => ('f', bytes.len()),
                Content::Svg(bytes) => ('s', bytes.len()),
            })
            .collect();
        assert_eq!(sizes, [('p', 100_000), ('f', CHUNK), ('f', 100_000 - CHUNK), ('s', 6)]);
    }

    #[tokio::test]
    async fn one_part_can_be_requested_and_unknown_parts_are_refused() {
        let (folder, service) = one_result("serve-part");
        let answers = get(&service, "shop/cart", vec![ProfilePart::Svg.into()]).await.unwrap();
        let refused = get(&service, "shop/cart", vec![7]).await.unwrap_err();
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(answers.len(), 2);
        assert_eq!((refused.code(), refused.message()), (tonic::Code::InvalidArgument, "parts: there is no part 7"));
    }

    #[tokio::test]
    async fn unknown_profile_is_not_found_by_name() {
        let (folder, service) = one_result("serve-unknown");
        let refused = get(&service, "shop/till", Vec::new()).await.unwrap_err();
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(refused.code(), tonic::Code::NotFound);
        assert!(refused.message().contains("shop/till"));
    }

    #[tokio::test]
    async fn watching_a_finished_profile_sends_one_message() {
        let (folder, service) = one_result("serve-watch");
        let request = scoped(WatchProfileRequest { name: "shop/cart".into() }, "shop");
        let told: Vec<Profile> = service.watch(request).await.unwrap().into_inner().try_collect().await.unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(told.iter().map(Profile::state).collect::<Vec<_>>(), [ProfileState::Done]);
    }
    #[tokio::test]
    async fn profile_of_another_namespace_is_as_unknown_as_none() {
        let (folder, service) = one_result("serve-scope");
        let names = async |scope: &str| {
            let answer = service.list(scoped(ListProfilesRequest {}, scope)).await.unwrap().into_inner();
            answer.profiles.into_iter().map(|profile| profile.name).collect::<Vec<_>>()
        };
        assert_eq!(names("reef").await, [""; 0]);
        assert_eq!(names("reef,shop").await, ["shop/cart"]);
        assert_eq!(names("*").await, ["shop/cart"]);
        assert_eq!(service.rows.counts(ReadResource::Profiles), (2, 1));
        let get = async |name: &str, wait| {
            let request = scoped(GetProfileRequest { name: name.into(), wait, ..Default::default() }, "reef");
            service.get(request).await.map(drop).unwrap_err()
        };
        let watch = service.watch(scoped(WatchProfileRequest { name: "shop/cart".into() }, "reef")).await;
        let refusals = [get("shop/cart", false).await, get("shop/cart", true).await, watch.map(drop).unwrap_err()];
        let of_none = get("shop/none", false).await;
        std::fs::remove_dir_all(folder).unwrap();
        for refusal in refusals {
            assert_eq!(refusal.code(), of_none.code());
            assert_eq!(refusal.message(), of_none.message().replace("none", "cart"));
        }
    }

    #[tokio::test]
    async fn result_that_is_waited_for_comes_when_the_profile_ends() {
        let (folder, service) = one_result("serve-wait");
        let meta = ProfileMeta { name: "shop/cart".into(), ..ProfileMeta::default() };
        let running = std::sync::Arc::new(parking_lot::Mutex::new(SessionStatus { meta, ..SessionStatus::default() }));
        service.profiles.add(running.clone());
        let request = |wait| {
            let request = GetProfileRequest { name: "shop/cart".into(), parts: vec![ProfilePart::Svg.into()], wait };
            scoped(request, "shop")
        };
        assert_eq!(service.get(request(false)).await.map(drop).unwrap_err().code(), tonic::Code::FailedPrecondition);
        let mut waiting = std::pin::pin!(service.get(request(true)));
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err(), "it still runs");
        {
            let mut status = running.lock();
            (status.finished, status.stored) = (true, true);
        }
        let answers: Vec<_> = waiting.await.unwrap().into_inner().try_collect().await.unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(answers.len(), 2);
    }
}
