// The AWS SDK for JavaScript v3: node peer.mjs URL COUNT
// It has no client of Clean Rooms ML among those that are measured; Clean Rooms has the same protocol and signer.
import { CleanRoomsClient, CreateConfiguredTableCommand } from "@aws-sdk/client-cleanrooms";

const [url, count] = [process.argv[2], Number(process.argv[3])];
const IN_FLIGHT = 64;
const { NodeHttpHandler } = await import("@smithy/node-http-handler");
const agent = { keepAlive: true, maxSockets: IN_FLIGHT };
const client = new CleanRoomsClient({
  region: "us-east-1",
  endpoint: url,
  requestHandler: new NodeHttpHandler({ httpAgent: agent, httpsAgent: agent }),
});

let next = 0;
async function work() {
  while (next < count) {
    const number = next++;
    await client.send(
      new CreateConfiguredTableCommand({
        name: `algorithm ${String(number).padStart(8, "0")}`,
        description: `Churn model of region ${number % 12}, trained nightly`,
        tableReference: { glue: { tableName: "churn", databaseName: "ads" } },
        allowedColumns: ["python3", "-m", "train", "--epochs", "20", "--lr", "0.001", "x".repeat(300)],
        analysisMethod: "DIRECT_QUERY",
        tags: { team: "ads", stage: "prod", "cost-center": "ads/lookalike" },
      }),
    );
  }
}
await Promise.all(Array.from({ length: IN_FLIGHT }, work));
client.destroy();
