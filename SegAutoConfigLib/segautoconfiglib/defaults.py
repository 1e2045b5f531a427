"""Every number of the method, once, with its unit and where it comes from.

"nnU-Net" stands for the published method (Isensee et al. 2021, Nature Methods 18, 203-211; Isensee et al. 2024,
arXiv:2404.09556) as nnunetv2 2.8.1 carries it out; numbers of our own say why they were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FingerprintDefaults:
    """Sampling of foreground intensities."""

    foreground_samples: int = 100_000_000  # per channel over the whole dataset (nnU-Net)
    seed: int = 1234  # of each case's sampling (nnU-Net)


@dataclass(frozen=True)
class PlanningDefaults:
    """Rules for spacing, patch size and network shape (nnU-Net)."""

    anisotropy_threshold: float = 3.0  # ratio of spacings, and of sizes, above which the coarse axis is special
    anisotropic_spacing_percentile: float = 10.0  # of the coarse axis' spacings
    coarse_axis_margin_mm: float = 1e-5  # keeps the coarse axis the coarsest
    min_bottleneck_edge: int = 4  # voxels
    axis_ratio: float = 2.0  # axes whose spacings differ by less are pooled, and convolved, together
    initial_patch_voxels_3d: int = 256**3
    initial_patch_voxels_2d: int = 2048**2
    base_features: int = 32
    max_features_3d: int = 320
    max_features_2d: int = 512
    convs_per_stage: int = 2  # of PlainConvUNet, encoder and decoder
    residual_blocks: tuple[int, ...] = (1, 3, 4, 6)  # per encoder stage of ResidualEncoderUNet; the last is repeated
    residual_decoder_convs: int = 1
    resampling_order_data: int = 3  # spline order of images
    resampling_order_seg: int = 1  # ... of labels and of network outputs
    resampling_order_z: int = 0  # ... along an axis that is resampled by itself
    lowres_patch_fraction: float = 0.25  # a patch smaller than this share of the image asks for 3d_lowres
    lowres_spacing_step: float = 1.03
    lowres_fine_axis_ratio: float = 2.0  # axes finer than the coarsest by more are coarsened first
    lowres_min_shrink: float = 2.0  # voxels(fullres) / voxels(lowres) below which 3d_lowres is dropped
    mask_normalization_below: float = 0.75  # median relative size after cropping
    min_batch_size: int = 2
    reference_batch_size_3d: int = 2
    reference_batch_size_2d: int = 12
    max_batch_size_3d: int = 16  # of our own planners: larger ones cost time and teach little more (ours)
    max_batch_size_2d: int = 64


@dataclass(frozen=True)
class PreprocessingDefaults:
    """Resampling and foreground locations (nnU-Net)."""

    separate_axis_threshold: float = 3.0  # ratio of spacings above which the coarse axis is resampled by itself
    min_locations: int = 10_000  # foreground locations kept per class, where there are as many
    location_share: float = 0.01  # ... or this share of the class's voxels, if that is more
    seed: int = 1234
    smallest_divisor: float = 1e-8  # of intensities, instead of a standard deviation or range of 0


@dataclass(frozen=True)
class StoreDefaults:
    """Compression of preprocessed cases (nnU-Net)."""

    block_bytes: int = 128 * 1024  # unpacked at once: fits the second-level cache
    chunk_bytes: int = 6 * 1024**2  # fits the third-level cache
    chunk_per_patch: float = 1.5  # largest edge of a chunk, in patch edges
    compression_level: int = 1  # of ZSTD (ours, measured; nnU-Net: LZ4HC at 5)


@dataclass(frozen=True)
class NetworkDefaults:
    """Initialisation of convolutions (nnU-Net)."""

    negative_slope: float = 0.01  # of the leaky ReLU that the weights are scaled for


@dataclass(frozen=True)
class MambaDefaults:
    """The mixing layer of U-Mamba (mamba_ssm's standard; Gu & Dao 2023)."""

    states: int = 16  # per channel
    kernel: int = 4  # tokens that the causal convolution sees
    expansion: int = 2  # channels inside, in channels of the layer
    rank_divisor: int = 16  # channels of the layer per number that the step sizes are made of
    min_step: float = 0.001  # of the first step sizes, drawn evenly on a logarithmic scale
    max_step: float = 0.1
    step_floor: float = 1e-4
    recomputed_numbers: int = 2**22  # in a layer's input; of more, its insides are computed again for the gradient


@dataclass(frozen=True)
class ScanDefaults:
    """Sizes in the selective scan (ours; measured on a CPU, guessed for GPUs)."""

    step_numbers_cpu: int = 2**15  # states that one call advances, per thread: worth the call
    group_numbers_cpu: int = 2**19  # states kept at once, per thread: in the cache
    step_numbers_gpu: int = 2**22
    group_numbers_gpu: int = 2**25
    min_chunks: int = 8  # fewer at a time do not pay for going twice


@dataclass(frozen=True)
class TrainingDefaults:
    """The standard recipe (nnU-Net)."""

    epochs: int = 1000
    iterations_per_epoch: int = 250
    validation_iterations: int = 50
    learning_rate: float = 0.01
    momentum: float = 0.99
    weight_decay: float = 3e-5
    schedule_power: float = 0.9
    gradient_clip_norm: float = 12.0
    foreground_share: float = 0.33  # of the samples of a batch
    dice_smoothing: float = 1e-5
    topk_share: float = 0.1  # of the voxels, the hardest ones
    pseudo_dice_momentum: float = 0.9
    folds: int = 5
    split_seed: int = 12345
    max_bad_steps: int = 10  # consecutive steps with NaN or infinity in loss or gradient before training stops (ours)
    min_loss_scale: float = 1.0  # of float16; a gradient that overflows below it does so without scaling (ours)
    umamba_learning_rate: float = 1e-3  # of SGD; at 0.01 U-Mamba may learn and then lose it all (its users)
    adam_learning_rate: float = 1e-3  # of Adam and its relatives where none is asked for (torch's default)
    adamw_weight_decay: float = 0.01  # torch's default; also Muon's
    adam_betas: tuple[float, float] = (0.9, 0.999)  # torch
    adan_betas: tuple[float, float, float] = (0.02, 0.08, 0.01)  # of adan-pytorch, shares of the new value
    muon_momentum: float = 0.95  # Jordan et al. 2024
    muon_betas: tuple[float, float] = (0.9, 0.99)  # of Adam, for what is no kernel (ours)
    min_slices_3d: int = 4  # of the median image; with fewer 2d is trained unless 3d_fullres is asked for (ours)
    warmup_share: float = 0.02  # of the run, for the schedules with a warm-up (ours)
    warmup_epochs: int = 50  # of nnUNetTrainer_warmup
    most_warmup: float = 0.1  # of a run whose number of epochs follows from the time (ours)
    continued_rate_share: float = 0.3  # of the usual learning rate, for weights that have learned already (ours)


@dataclass(frozen=True)
class BudgetDefaults:
    """Training within a given time on a device without a fast GPU (ours; tried on MR crops and synthetic volumes)."""

    widths: tuple[int, ...] = (8, 12, 16, 24, 32)  # features of the first stage, the smallest first
    batch_size_3d: int = 2
    batch_size_2d: int = 4
    probe_voxels_3d: int = 2**17  # of the patch that the device's speed is first measured with
    probe_voxels_2d: int = 2**16
    min_steps: int = 800  # the patch shrinks until so many steps fit into the time
    wide_steps: int = 2000  # a wider network is taken only if so many of its steps fit
    patch_share: float = 0.125  # of the median image that a patch covers; else the spacing is made coarser
    max_coarsening: float = 4.0  # factor on the spacing
    learning_rate: float = 8e-3  # Muon
    average_weights: float = 0.99  # decay per step
    symmetry_cases: int = 100  # that are looked at to find out along which axes to mirror
    symmetry_agreement: float = 0.9  # share of the cases in which one class lies on the same side of another
    symmetry_distance: float = 0.5  # of two classes' centres, in standard deviations of their voxels' positions
    epoch_seconds: float = 30.0
    min_epochs: int = 10
    validation_share: float = 0.04  # of an epoch's steps, for the curve
    compile_from_s: float = 3600.0  # on a CPU compiling takes one to two minutes and saves a tenth: not worth it before
    compile_from_cuda_s: float = 900.0  # the same on a GPU, where it saves more
    compile_gain: float = 0.95  # the compiled step must take less than this share of the plain one
    measuring_share: float = 0.025  # of the time, for measuring one network on this device
    min_seconds: float = 30.0
    reading_share: float = 0.1  # of a step, for making its batch
    prepare_case_s: float = 0.04  # preprocessing a training case on one core, and besides
    prepare_megavoxel_s: float = 0.12  # ... for every million of its voxels
    case_overhead_s: float = 0.1  # reading, restoring, writing and comparing one held-out case, and besides
    case_megavoxel_s: float = 0.25  # ... for every million of its voxels
    mirror_validation_share: float = 0.15  # of the time, that predicting the held-out cases with mirroring may take
    reserve_share: float = 0.015  # of the time, and at least reserve_s, for loading, writing and what was misjudged
    reserve_s: float = 5.0


@dataclass(frozen=True)
class AugmentationDefaults:
    """Probabilities (per sample) and ranges of the augmentation (nnU-Net)."""

    rotation_probability: float = 0.2
    rotation_3d: float = 30.0  # degrees, about each axis
    rotation_2d: float = 180.0  # degrees, in 2D and within the slices of flat 3D patches
    rotation_long_2d: float = 15.0  # degrees, 2D patches that are longer than wide by more than long_patch
    long_patch: float = 1.5
    scaling_probability: float = 0.2
    scaling_range: tuple[float, float] = (0.7, 1.4)
    patch_margin: float = 0.85  # smallest scale that the loaded patch is enlarged for
    noise_probability: float = 0.1
    noise_sigma: tuple[float, float] = (0.0, 0.1)
    blur_probability: float = 0.2
    blur_channel_probability: float = 0.5
    blur_sigma: tuple[float, float] = (0.5, 1.0)  # voxels
    blur_kernel_width: float = 6.0  # standard deviations, both sides together
    brightness_probability: float = 0.15
    brightness_range: tuple[float, float] = (0.75, 1.25)
    contrast_probability: float = 0.15
    contrast_range: tuple[float, float] = (0.75, 1.25)
    low_resolution_probability: float = 0.25
    low_resolution_channel_probability: float = 0.5
    low_resolution_range: tuple[float, float] = (0.5, 1.0)
    inverted_gamma_probability: float = 0.1
    gamma_probability: float = 0.3
    gamma_range: tuple[float, float] = (0.7, 1.5)
    mirror_probability: float = 0.5  # per axis
    morphology_probability: float = 0.4  # of the previous stage in a cascade
    morphology_radius: tuple[float, float] = (1.0, 8.0)  # voxels
    drop_component_probability: float = 0.2
    dropped_component_share: float = 0.15  # of the patch, below which a component may be dropped
    cascade_label_probability: float = 0.5  # per label, of the two before


@dataclass(frozen=True)
class StrongAugmentationDefaults:
    """nnU-Net's strong augmentation "DA5", where it differs from AugmentationDefaults."""

    rotation_probability: float = 0.4
    axis_probability: float = 0.5  # of each axis, if the patch is rotated
    scaling_probability: float = 0.2
    scaling_range: tuple[float, float] = (0.7, 1.43)  # drawn for each axis
    patch_margin: float = 0.7
    turn_probability: float = 0.5  # by quarters
    swap_probability: float = 0.5  # of axes
    channel_probability: float = 0.5
    median_probability: float = 0.2
    median_sizes: tuple[int, int] = (2, 7)  # voxels
    blur_probability: float = 0.2
    blur_sigma: tuple[float, float] = (0.3, 1.5)  # voxels
    noise_probability: float = 0.1
    added_brightness_probability: float = 0.1
    added_brightness_sigma: float = 0.5
    contrast_probability: float = 0.2
    contrast_range: tuple[float, float] = (0.5, 2.0)
    low_resolution_probability: float = 0.15
    low_resolution_range: tuple[float, float] = (0.25, 1.0)
    gamma_probability: float = 0.1  # of the inverted image, and of the image as it is
    blank_probability: float = 0.4
    blank_boxes: tuple[int, int] = (1, 4)
    blank_edges: tuple[int, int] = (10, 3)  # a tenth to a third of the patch
    gradient_probability: float = 0.3
    gradient_strength: tuple[float, float] = (1.0, 5.0)  # of either sign
    bump_scale: float = 1 / 6  # of the patch, smallest standard deviation of a bump; the largest is the patch
    bump_place: tuple[float, float] = (-0.5, 1.5)  # of its centre, in patches
    local_gamma_probability: float = 0.3
    local_gamma_low: tuple[float, float] = (0.01, 0.8)
    local_gamma_high: tuple[float, float] = (1.5, 4.0)
    sharpening_probability: float = 0.2
    sharpening_range: tuple[float, float] = (0.1, 1.0)


@dataclass(frozen=True)
class InferenceDefaults:
    """Sliding window (nnU-Net; sums are float32 here, fp16 there)."""

    step: float = 0.5  # share of the patch
    gaussian_sigma: float = 1 / 8  # share of the patch
    batch_voxels_cpu: int = 2**17  # of tiles sent through the network at once, if one tile is not more (ours)
    batch_voxels_gpu: int = 2**21  # likewise: a standard patch of 128^3
    restore_depth: int = 16  # voxels of the blocks in which logits become labels: fits the second-level cache (ours)
    restore_edge: int = 64
    probabilities_in_memory: int = 2**30  # bytes of a case's probabilities above which they go through the disk (ours)
    report_interval_s: float = 0.5  # between two progress events within a case (ours)


@dataclass(frozen=True)
class EvaluationDefaults:
    """Metrics (Metrics Reloaded, Maier-Hein et al. 2024, Nature Methods 21, 195-212)."""

    hausdorff_percentile: float = 95.0
    tolerance_mm: float = 1.0  # of the normalised surface Dice; a usual choice, to be set to what readers differ by
    count_chunk_voxels: int = 2**22  # counted at once, so that large volumes need little memory (ours)
    probabilities_on_disk: int = 8 * 2**30  # bytes, before compression, kept while a choice is predicted (ours)
    overlay_intensity: float = 0.6  # opacity of labels in overlay pictures (nnU-Net)


FINGERPRINT = FingerprintDefaults()
PLANNING = PlanningDefaults()
PREPROCESSING = PreprocessingDefaults()
STORE = StoreDefaults()
NETWORK = NetworkDefaults()
MAMBA = MambaDefaults()
SCAN = ScanDefaults()
TRAINING = TrainingDefaults()
BUDGET = BudgetDefaults()
AUGMENTATION = AugmentationDefaults()
STRONG_AUGMENTATION = StrongAugmentationDefaults()
INFERENCE = InferenceDefaults()
EVALUATION = EvaluationDefaults()
