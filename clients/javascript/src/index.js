export { Client } from "./client.js";
export {
  ConnectionLostError,
  GaveUpError,
  ProblemError,
  ProtocolError,
  RmtError,
  SourceError,
  UsageError,
} from "./errors.js";
