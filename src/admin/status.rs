//! The service `transom.admin.v1.Status`: what the gateway does, and what was done to it.

use tonic::Request;
use tonic::Response;

use crate::admin::audit;
use crate::admin::desk;
use crate::admin::desk::Desk;
use crate::admin::pb;
use crate::admin::pb::status_server::Status;

/// The state of the gateway, and the audit log.
pub(super) struct Service(pub(super) Desk);

type Answer<T> = Result<Response<T>, tonic::Status>;

#[tonic::async_trait]
impl Status for Service {
    async fn get_status(&self, _: Request<pb::GetStatusRequest>) -> Answer<pb::GetStatusResponse> {
        self.0.beside(|desk| Ok(desk.plane.status())).await.map(Response::new)
    }

    async fn list_audit(&self, request: Request<pb::ListAuditRequest>) -> Answer<pb::ListAuditResponse> {
        let request = request.into_inner();
        let (size, before) = (desk::page_size(request.page_size)?, desk::before(&request.page_token)?);
        let list = move |desk: &Desk| {
            let store = desk.store()?;
            let entries = audit::list(&*store, before, size)?;
            let last = entries.last().map(|entry| entry.sequence).filter(|sequence| 1 < *sequence);
            let next_page_token =
                last.map(|sequence| desk::page_token(&sequence.to_string())).unwrap_or_default();
            Ok(pb::ListAuditResponse { entries, next_page_token })
        };
        self.0.beside(list).await.map(Response::new)
    }
}
