/** `hunyuan-native/train`: whole runs as configurations, and what they are made of. Tensors and gradients are under `hunyuan-native/tensor`. */
export { flowLoss, velocityTarget } from "./models/dit/flow-matching.js";
export { HunyuanDit } from "./models/dit/model.js";
export { ditSpec } from "./models/dit/spec.js";
export { CausalVae } from "./models/vae/model.js";
export { LoadedModel } from "./pipelines/loaded-model.js";
export { type TrainingConfig, trainingSchema } from "./pipelines/training/config.js";
export type { RunEvent, RunHooks, RunResult } from "./pipelines/training/events.js";
export { type InitialModelOptions, writeInitialModel } from "./pipelines/training/initial-model.js";
export { firstBatches, LatentSource, type LatentSourceOptions } from "./pipelines/training/latents.js";
export { runTrainingConfig } from "./pipelines/training/run.js";
export { type WriteModelOptions, writeModel } from "./pipelines/training/write-model.js";
export {
  type LearnerConfig,
  learnerSchema,
  type RunConfig,
  runSchema,
  type StageConfig,
  type StageDataConfig,
  scheduleSchema,
  stageDataSchema,
  stageSchema,
  stagesSchema,
  timestepsSchema,
} from "./train/config.js";
export { type Bucket, type BucketGridOptions, bucketGrid, bucketOf, showBucket } from "./train/data/buckets.js";
export { type CheckDataOptions, checkData, type DataReport } from "./train/data/check.js";
export type { CutOptions } from "./train/data/clip.js";
export {
  type BatchLabels,
  type ClipBatch,
  Dataset,
  type DatasetOptions,
  type DatasetSample,
  openDataset,
} from "./train/data/dataset.js";
export { identityOfFiles, identityOfParams } from "./train/data/identity.js";
export { CachedLatents, type CacheLatentsOptions, cacheLatents, type LatentBatch } from "./train/data/latents.js";
export { pixelsOf } from "./train/data/pixels.js";
export { type CachePromptsOptions, PromptCache } from "./train/data/prompts.js";
export { type FoundSamples, findSamples, type Sample, type Skipped } from "./train/data/samples.js";
export { BatchStream, type DataPosition, type StreamOptions } from "./train/data/stream.js";
export { type CachedTensor, type CacheEntry, TensorCache } from "./train/data/tensor-cache.js";
export {
  conditionalVelocity,
  distilledScales,
  drawGuidance,
  type GuidanceScales,
  guidedVelocity,
  unconditionalVelocity,
} from "./train/distil/guidance.js";
export { jointDistillationLosses, type LearningTeacher } from "./train/distil/joint.js";
export {
  distillationLosses,
  type GuidanceAwareOptions,
  type GuidanceError,
  type GuidanceForm,
  guidanceAwareLosses,
  guidanceError,
} from "./train/distil/losses.js";
export { studentOf } from "./train/distil/student.js";
export { ditMatrixRows, ditMuonGroup } from "./train/dit-matrices.js";
export { type DitBatch, type DitStage, DitTask, type DitTaskOptions } from "./train/dit-task.js";
export { Ema, type EmaOptions } from "./train/ema.js";
export { Learner, type LearnerOptions, type Update } from "./train/learner.js";
export { LoraAdapters, type LoraSettings, loraDefaults } from "./train/lora/adapters.js";
export { type SaveLoraOptions, saveLora } from "./train/lora/save.js";
export { type MuonOptions, type MuonWeight, muonStep } from "./train/muon.js";
export {
  type FlowSample,
  predictVelocity,
  type TextCondition,
  velocityLosses,
  withoutCaptions,
} from "./train/objective.js";
export { Optimizer, type OptimizerOptions, type ParameterGroup, type StepOptions } from "./train/optimizer.js";
export { type Parameter, ParameterSet, parametersOf, type SelectOptions, selectedOf } from "./train/parameters.js";
export { type Preservation, preservationLosses } from "./train/preserve.js";
export { describeStep, type TrainingEvent } from "./train/progress.js";
export { noiseFor, seedOf } from "./train/random.js";
export { type RateSchedule, rateFactor } from "./train/schedule.js";
export type { Stage, StepPlace } from "./train/stages.js";
export { type RestoredState, type SaveStateOptions, StateFolder, type StateFolderOptions } from "./train/state.js";
export type { JsonValue, Stateful, StateParts } from "./train/stateful.js";
export type { BatchSource, Metrics, SampleStrip, TrainingTask } from "./train/task.js";
export { drawSigmas, type TimestepOptions } from "./train/timesteps.js";
export { runTraining, type TrainingOptions, type TrainingResult } from "./train/trainer.js";
export { type DiscriminatorConfig, discriminatorDefaults, PatchDiscriminator } from "./train/vae/discriminator.js";
export { type FoldOptions, foldLatents, type LatentStatistics, latentStatistics } from "./train/vae/fold-latents.js";
export { type InitialVaeOptions, initialVae } from "./train/vae/initial.js";
export { Lpips, loadLpips } from "./train/vae/lpips.js";
export {
  type VaeLosses,
  type VaeLossWeights,
  VaeObjective,
  type VaeObjectiveOptions,
  type VaeStepChoices,
  vaeLossWeights,
} from "./train/vae/objective.js";
export { type PsnrReport, psnrOf, reconstructionPsnr } from "./train/vae/psnr.js";
export { type VaeStage, VaeTask, type VaeTaskOptions, vaeMuonGroup } from "./train/vae/vae-task.js";
