//! The table, where we are to make it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::StoreError;
use super::client::Client;
use super::item::{FORGET_AT, KEY};

/// Between two looks at a table that is being made, which takes seconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    table: Table,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Table {
    table_status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Lives {
    time_to_live_description: Life,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Life {
    time_to_live_status: String,
}

/// Makes the table if it is not there, waits until it is, and switches its TTL on. Takes as long as that takes: whoever calls
/// gives up in time.
pub(super) async fn ready(client: &Client) -> Result<(), StoreError> {
    let name = json!({ "TableName": client.settings.table });
    loop {
        match client.ask("DescribeTable", &name).await? {
            Ok(body) => {
                let status = client.read::<Described>(&body)?.table.table_status;
                if !matches!(status.as_str(), "CREATING" | "DELETING") {
                    break;
                }
                sleep(LOOK_EVERY).await;
            }
            Err(refusal) if refusal.name == "ResourceNotFoundException" => create(client).await?,
            Err(refusal) => return Err(refusal.error(&client.settings)),
        }
    }
    forget(client).await
}

async fn create(client: &Client) -> Result<(), StoreError> {
    let table = json!({
        "TableName": client.settings.table,
        "KeySchema": [{ "AttributeName": KEY, "KeyType": "HASH" }],
        "AttributeDefinitions": [{ "AttributeName": KEY, "AttributeType": "B" }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    match client.ask("CreateTable", &table).await? {
        // Another gateway makes it.
        Err(refusal) if refusal.name == "ResourceInUseException" => sleep(LOOK_EVERY).await,
        Err(refusal) => return Err(refusal.error(&client.settings)),
        Ok(_) => {}
    }
    Ok(())
}

/// Has the service drop what need not be remembered any more, unless its TTL is on already.
async fn forget(client: &Client) -> Result<(), StoreError> {
    let table = &client.settings.table;
    let lives = client.ask("DescribeTimeToLive", &json!({ "TableName": table })).await?;
    let lives: Lives = client.read(&lives.map_err(|refusal| refusal.error(&client.settings))?)?;
    if lives.time_to_live_description.time_to_live_status != "DISABLED" {
        return Ok(());
    }
    let wanted = json!({
        "TableName": table,
        "TimeToLiveSpecification": { "Enabled": true, "AttributeName": FORGET_AT },
    });
    match client.ask("UpdateTimeToLive", &wanted).await? {
        // Another gateway was first.
        Err(refusal) if refusal.told.contains("already enabled") => Ok(()),
        Err(refusal) => Err(refusal.error(&client.settings)),
        Ok(_) => Ok(()),
    }
}
